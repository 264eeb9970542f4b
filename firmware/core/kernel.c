/* One pass over every frame, to record it and to find it again. The firmware's other C: dense.c, digest.c, turnstile.c.
 *
 * Why C: a Gbit/s of small frames is 1.5 million a second. Python spends about a microsecond on one call, so it may touch blocks
 * and stretches, never frames. Everything here runs with the interpreter lock released and allocates nothing per frame.
 *
 * Trusts nothing: a block, a stretch read back and a query may be any bytes. Every length is checked against the buffer it lies in
 * before it is used; what does not fit is counted and ends the walk. (tests/fuzz/test_block.py, test_segment.py)
 *
 * Stretch(capacity)   collects pcapng Enhanced Packet Blocks, the same packed as one LZ4 block, and the index keys of what is in them
 * scan(...)           copies the Enhanced Packet Blocks that match a query exactly
 * scan_packed(...)    the same, out of a stretch as it was packed, while it is unpacked
 * ordered(...)        sorts Enhanced Packet Blocks by their stamps
 * probe(...)          which records of an index leave the query possible, each checked before it is believed
 * checksum(...)       what stands behind a block of an LZ4 frame
 * crc32(...)          what stands in a record of an index
 * ipv6_key(...)       the 56 bits that stand for an IPv6 address in the index
 *
 * LZ4 block format 1.6: github.com/lz4/lz4/doc. xxh32: checksum.h. CRC-32: crc.h. Block layout: drivers/tap.py. Pcapng: draft-ietf-opsawg-pcapng, section 4.3. Keys: firmware/core/index.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "checksum.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segments are little endian and are written as they lie in memory; no big-endian board is supported"
#endif

#define SNAP_MAX 262144u           /* libpcap's MAXIMUM_SNAPLEN; no tap of ours hands over more of a frame */
#define FRAME_ROOM (SNAP_MAX + 64u) /* a block around the longest frame with a VLAN tag put back */
#define KEY_SLOTS 8192u            /* power of two; twice KEYS_MAX, so that probing stays short */
#define KEYS_MAX 4096u             /* 32 KiB of index for a stretch of 512 KiB is the most an index may cost; above: "anything" */
#define FLOW_SLOTS 512u            /* power of two; recent flows whose keys are already in the set: 20 KiB, stays in the L1 cache */
#define OTHER_SLOTS 64u            /* the same for frames that are not plain IPv4 */
#define FRAME_KEYS_MAX 11
#define AHEAD 2048 /* bytes of a block that are on their way from memory; 1,514-byte frames cost a quarter less than with two lines each */
#define INTERFACES_MAX 8u /* a passive tap needs two, a box has four ports */
#define TERMS_MAX 256u
#define GROUPS_MAX 8u
#define TERM_SIZE 28u
#define BLOCK_HEADER 48u
#define FRAME_HEADER 48u

enum { KIND_MAC = 1, KIND_IPV4, KIND_IPV6, KIND_PORT, KIND_VLAN, KIND_ETHERTYPE, KIND_PROTOCOL };
enum { HAS_MAC = 1, HAS_IPV4 = 2, HAS_IPV6 = 4, HAS_PROTOCOL = 8, HAS_PORTS = 16 };
enum { BLOCK_DONE = 0, STRETCH_FULL = 1, CUT_REACHED = 2 };
#define NO_VLAN 0xffffu
#define VLANS_MAX 2 /* QinQ; deeper stacks are parsed through, their inner tags not indexed */

/* What the index and a query may ask of a frame. No padding: compared with memcmp. */
struct facts {
    uint8_t mac[12]; /* destination, source */
    uint16_t vlan[VLANS_MAX];
    uint16_t ethertype; /* 0 for an IEEE 802.3 length */
    uint8_t protocol;
    uint8_t has;
    uint16_t port[2];
    uint8_t address[2][16]; /* source, destination; IPv4 in the first four bytes */
};
_Static_assert(sizeof(struct facts) == 56, "facts are compared as bytes");

static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static inline uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }
static inline uint16_t ld16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t ld32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t ld64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void st32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void st16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }

static inline uint64_t mixed(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15ull;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9ull;
    return x ^ x >> 32;
}

static inline uint64_t key(uint64_t kind, uint64_t value) { return kind << 56 | value; }
static inline uint64_t mac_value(const uint8_t *m) { return (uint64_t)be16(m) << 32 | be32(m + 2); }
static inline uint64_t ipv6_value(const uint8_t *a) { return mixed(be64(a) ^ mixed(be64(a + 8) + 1)) & 0xffffffffffffffull; }

/* Ports of TCP, UDP and SCTP lie at the same place. */
static inline void ports(struct facts *f, const uint8_t *m, uint32_t n, uint32_t at)
{
    if ((f->protocol == 6 || f->protocol == 17 || f->protocol == 132) && at <= n && n - at >= 4) {
        f->port[0] = be16(m + at);
        f->port[1] = be16(m + at + 2);
        f->has |= HAS_PORTS;
    }
}

static inline void ipv6(struct facts *f, const uint8_t *m, uint32_t n, uint32_t at)
{
    uint8_t next = m[at + 6];
    memcpy(f->address, m + at + 8, 32);
    f->has |= HAS_IPV6 | HAS_PROTOCOL;
    at += 40;
    /* RFC 8200 extension headers, at most eight: a longer chain hides its ports, it does not hold us. */
    for (int i = 0; i < 8 && (next == 0 || next == 43 || next == 44 || next == 51 || next == 60); i++) {
        if (at > n || n - at < 8)
            break;
        uint32_t size = next == 44 ? 8 : next == 51 ? (m[at + 1] + 2u) * 4 : (m[at + 1] + 1u) * 8;
        int later_fragment = next == 44 && (be16(m + at + 2) & 0xfff8);
        next = m[at];
        at += size;
        if (later_fragment) {
            f->protocol = next;
            return;
        }
    }
    f->protocol = next;
    ports(f, m, n, at);
}

/* Facts of one Ethernet frame of n bytes as captured. */
static inline void facts_of(struct facts *f, const uint8_t *m, uint32_t n)
{
    memset(f, 0, sizeof *f);
    f->vlan[0] = f->vlan[1] = NO_VLAN;
    if (n < 14)
        return;
    memcpy(f->mac, m, 12);
    f->has = HAS_MAC;
    uint32_t at = 12;
    uint16_t ethertype = be16(m + 12);
    for (int depth = 0; (ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100) && n >= at + 6 && depth < 8; depth++) {
        if (depth < VLANS_MAX)
            f->vlan[depth] = be16(m + at + 2) & 0xfff;
        at += 4;
        ethertype = be16(m + at);
    }
    at += 2;
    f->ethertype = ethertype < 0x600 ? 0 : ethertype;
    if (ethertype == 0x0800 && n >= at + 20 && m[at] >> 4 == 4) {
        memcpy(f->address[0], m + at + 12, 4);
        memcpy(f->address[1], m + at + 16, 4);
        f->protocol = m[at + 9];
        f->has |= HAS_IPV4 | HAS_PROTOCOL;
        if (!(be16(m + at + 6) & 0x1fff) && (m[at] & 15) >= 5)
            ports(f, m, n, at + (m[at] & 15) * 4u);
    } else if (ethertype == 0x86dd && n >= at + 40 && m[at] >> 4 == 6) {
        ipv6(f, m, n, at);
    } else if (ethertype == 0x0806 && n >= at + 28 && ld32(m + at + 2) == 0x04060008u) {
        /* ARP for IPv4: whoever asks for a host wants to see who asked for it, too. */
        memcpy(f->address[0], m + at + 14, 4);
        memcpy(f->address[1], m + at + 24, 4);
        f->has |= HAS_IPV4;
    }
}

/* The keys of a frame, at most eleven. */
static int keys_of(const struct facts *f, uint64_t *keys)
{
    int n = 0;
    if (!(f->has & HAS_MAC))
        return 0;
    keys[n++] = key(KIND_MAC, mac_value(f->mac));
    keys[n++] = key(KIND_MAC, mac_value(f->mac + 6));
    keys[n++] = key(KIND_ETHERTYPE, f->ethertype);
    for (int i = 0; i < VLANS_MAX; i++)
        if (f->vlan[i] != NO_VLAN)
            keys[n++] = key(KIND_VLAN, f->vlan[i]);
    for (int i = 0; i < 2; i++) {
        if (f->has & HAS_IPV4)
            keys[n++] = key(KIND_IPV4, be32(f->address[i]));
        else if (f->has & HAS_IPV6)
            keys[n++] = key(KIND_IPV6, ipv6_value(f->address[i]));
        if (f->has & HAS_PORTS)
            keys[n++] = key(KIND_PORT, f->port[i]);
    }
    if (f->has & HAS_PROTOCOL)
        keys[n++] = key(KIND_PROTOCOL, f->protocol);
    return n;
}

/* A flow as most frames have one: IPv4 without options, unfragmented TCP, UDP or SCTP, no VLAN tag. It decides all facts of its frames.
 * All zero is free: no such flow is. */
struct tuple {
    uint64_t mac, macs_type, addresses; /* MACs with ethertype, version and protocol, addresses, as they lie in the frame */
    uint32_t ports;
};

/* Whether a frame is of such a flow, and which. Flows are compared in full: a hash would let a crafted frame hide. */
static inline int plain(struct tuple *t, const uint8_t *m, uint32_t n)
{
    if (n < 38 || ld16(m + 12) != 0x0008 || m[14] != 0x45 || ld16(m + 20) & 0xff1f || (m[23] != 6 && m[23] != 17 && m[23] != 132))
        return 0;
    *t = (struct tuple){ld64(m), (ld64(m + 8) & 0x00ffffffffffffffull) | (uint64_t)m[23] << 56, ld64(m + 26), ld32(m + 34)};
    return 1;
}

static inline int same(const struct tuple *a, const struct tuple *b)
{
    return a->mac == b->mac && a->macs_type == b->macs_type && a->addresses == b->addresses && a->ports == b->ports;
}

_Static_assert(FLOW_SLOTS == 1u << (64 - 55), "the slot is the hash's highest bits");
static inline uint32_t flow_slot(const struct tuple *t)
{
    uint64_t h = t->mac * 0x9E3779B97F4A7C15ull ^ t->macs_type * 0xC2B2AE3D27D4EB4Full ^ t->addresses * 0xBF58476D1CE4E5B9ull;
    return (uint32_t)((h ^ h >> 32 ^ t->ports) * 0x9E3779B97F4A7C15ull >> 55);
}

/* ---- Packing ---------------------------------------------------------------------------------------------------------------- */

/* An LZ4 block made frame by frame, while the frame is in the nearest cache. Any LZ4 reader reads it; only how matches are found
 * is ours. A frame is compared, at equal places, with the last of its flow, else with the last as long as it is: sixty-four bytes at a
 * time, which finds what repeats for a fraction of the price of a search. What lies between, behind the headers, is searched as LZ4
 * does it: in ever larger steps as long as nothing matches, and when that goes on, in one frame of several only, until one gives again.
 * So what does not compress costs little more than its copy, and what does is 1 to 7 % larger than the library makes it
 * (tests/core/test_packing.py; make bench, density).
 */
#define WINDOW 65535u
#define HEADERS 70u     /* of an Enhanced Packet Block: 28 of its own, Ethernet, IPv4 and UDP; they are compared, never searched */
#define MATCH_MIN 5u    /* of the search: a match costs three bytes; one of four saves one and makes everybody slower */
#define EQUAL_MIN 8u    /* of the comparison: five make 60-byte frames a quarter smaller and a fifth slower, recordings 1 % smaller */
#define TAIL 12u        /* of a block: no match begins in it (LZ4 block format, end of block conditions), */
#define LITERALS_LAST 5u /* and these stay literals */
#define SEARCH_SLOTS 4096u
#define SEARCH_FIRST (4u << 6) /* each look in vain adds a 64th of a byte to the step; begins with four: 3 % larger, a quarter faster */
#define SEARCH_LAST (64u << 6) /* a step of 64 bytes: two dozen looks at the longest ordinary frame, and then rests between frames */
#define REST_MAX 7u     /* frames not searched between two that are, when nothing is found; recordings become 0 to 2 % larger by it */
#define SIZE_SLOTS 512u /* power of two; block lengths are multiples of four: those of all ordinary frames have a slot of their own */
#define PAGE 4096u      /* the largest block of any disk */
#define LARGE_PAGE (2u << 20) /* of the common processors: a stretch in such pages costs the disk two fifths, for it is few pieces */
#define LINK_HEAD 4u    /* a link's size word, */
#define LINK_TAIL 4u    /* and its checksum, in the SLACK */
#define SLACK 64u       /* so that whole words may be copied and compared at the end of a buffer */

struct packer {
    uint8_t *out; /* the sequences */
    size_t used;
    uint32_t anchor;                 /* first byte no sequence has yet */
    uint32_t begins, ends, distance; /* the match in hand, it may grow; none when begins == ends */
    uint32_t waits, until, alike;    /* the frame not yet packed: read again this soon, its words would still be in the store queue */
    uint32_t previous;               /* where the last frame packed began */
    uint32_t steps, resting, rest;   /* of the search; frames it still rests, and how many it last did */
    uint32_t *recent;                /* SEARCH_SLOTS: where these bytes were last seen */
    uint32_t *as_long;               /* SIZE_SLOTS: where the last block as long as this began */
};

static size_t packed_max(size_t size) { return size + size / 255 + 16 + SLACK; }

static inline uint8_t *length(uint8_t *o, uint32_t n)
{
    for (; n >= 255; n -= 255)
        *o++ = 255;
    *o++ = (uint8_t)n;
    return o;
}

/* The literals up to the match in hand, and the match. */
static inline void put(struct packer *p, const uint8_t *raw)
{
    uint32_t literals = p->begins - p->anchor, more = p->ends - p->begins - 4;
    uint8_t *o = p->out + p->used, *token = o++;
    *token = (uint8_t)((literals < 15 ? literals : 15) << 4 | (more < 15 ? more : 15));
    if (literals >= 15)
        o = length(o, literals - 15);
    const uint8_t *from = raw + p->anchor;
    if (literals <= 64) {
        memcpy(o, from, 32); /* SLACK on both sides */
        if (literals > 32)
            memcpy(o + 32, from + 32, 32);
    } else {
        memcpy(o, from, literals);
    }
    o += literals;
    st16(o, (uint16_t)p->distance);
    o += 2;
    if (more >= 15)
        o = length(o, more - 15);
    p->used = (size_t)(o - p->out);
    p->anchor = p->ends;
}

static inline void match(struct packer *p, const uint8_t *raw, uint32_t begins, uint32_t ends, uint32_t distance)
{
    if (p->begins != p->ends) {
        if (begins <= p->ends) {
            if (distance == p->distance) {
                p->ends = ends;
                return;
            }
            begins = p->ends;
            if (ends < begins + MATCH_MIN)
                return;
        }
        put(p, raw);
    }
    p->begins = begins;
    p->ends = ends;
    p->distance = distance;
}

/* Where bytes from `at` on stop being equal to those `distance` before them, `end` at the latest. */
static inline uint32_t equal_until(const uint8_t *raw, uint32_t at, uint32_t end, uint32_t distance)
{
    while (at + 8 <= end) {
        uint64_t other = ld64(raw + at) ^ ld64(raw + at - distance);
        if (other)
            return at + ((uint32_t)__builtin_ctzll(other) >> 3);
        at += 8;
    }
    while (at < end && raw[at] == raw[at - distance])
        at++;
    return at;
}

/* Which of 64 bytes are equal: bit i for byte i. */
static inline uint64_t equal(const uint8_t *a, const uint8_t *b)
{
    uint64_t bits = 0;
#ifdef __SSE2__
    for (int i = 0; i < 4; i++) {
        __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(a + 16 * i)), _mm_loadu_si128((const __m128i *)(b + 16 * i)));
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(same) << 16 * i;
    }
#else
    for (int i = 0; i < 8; i++) {
        const uint64_t low = 0x7f7f7f7f7f7f7f7full;
        uint64_t other = ld64(a + 8 * i) ^ ld64(b + 8 * i);
        uint64_t same = ~(((other & low) + low) | other | low) >> 7; /* one in each byte that is the same; then the eight moved together */
        bits |= (same * 0x0102040810204080ull >> 56) << 8 * i;
    }
#endif
    return bits;
}

/* Looks for what was there before, behind the match in hand and before `end`. No match begins after `last`. */
static inline void search(struct packer *p, const uint8_t *raw, uint32_t at, uint32_t end, uint32_t last)
{
    uint32_t steps = p->steps, *recent = p->recent;
    while (at <= last) {
        uint32_t word = ld32(raw + at), slot = word * 2654435761u >> 20, found = recent[slot], apart = at - found;
        recent[slot] = at;
        /* Content first: it decides nearly always, and how far away it is cannot be foretold. */
        if (word != ld32(raw + found) || apart - 1 >= WINDOW) {
            at += steps >> 6;
            steps += steps < SEARCH_LAST;
            continue;
        }
        uint32_t from = at, lowest = p->begins != p->ends ? p->ends : p->anchor;
        while (from > lowest && from > apart && raw[from - 1] == raw[from - 1 - apart])
            from--;
        at = equal_until(raw, at + 4, end, apart);
        if (at - from >= MATCH_MIN) {
            match(p, raw, from, at, apart);
            steps = SEARCH_FIRST;
        }
    }
    p->steps = steps;
}

_Static_assert(EQUAL_MIN == 8, "three times doubled");

/* The waiting frame, all before it packed. alike: where the last frame of its flow begins; itself, when there is none. */
static inline void pack(struct packer *shared, const uint8_t *restrict raw)
{
    struct packer local = *shared, *p = &local; /* in registers: bytes written to memory might be anybody's */
    uint32_t begins = p->waits, end = p->until, last = end - TAIL, behind = begins + HEADERS;
    if (begins == end)
        return;
    p->waits = end;
    uint32_t *slot = &p->as_long[(end - begins) >> 2 & (SIZE_SLOTS - 1)];
    uint32_t model = begins - p->alike - 1 < WINDOW ? p->alike : *slot && begins - *slot <= WINDOW ? *slot : p->previous;
    uint32_t distance = begins - model;
    p->previous = *slot = begins;
    int searches = p->resting == 0;
    if (distance - 1 < WINDOW) {
        /* Seven bytes are looked at twice: what begins in them is seen whole. The last look of so many sees to here: packed files that
         * were sealed are made again byte for byte (stretch_repack), so this is part of what makes their bytes. */
        uint32_t step = 64 - (EQUAL_MIN - 1), seen = begins + (last - begins) / step * step + 64;
        if (seen > end)
            seen = end;
        for (uint32_t at = begins; at <= last;) {
            uint64_t same = equal(raw + at, raw + at - distance);
            if (seen - at < 64)
                same &= (1ull << (seen - at)) - 1;
            uint64_t runs = same & same >> 1; /* in the end: where EQUAL_MIN equal bytes begin */
            runs &= runs >> 2;
            runs &= runs >> 4;
            uint32_t next = at + step;
            while (runs) {
                uint32_t first = (uint32_t)__builtin_ctzll(runs), from = at + first, to;
                if (from > last)
                    break;
                uint64_t others = ~same >> first;
                if (others) {
                    to = from + (uint32_t)__builtin_ctzll(others);
                    runs &= ~0ull << ((to - at) & 63);
                } else {
                    /* It goes on: its end is found eight bytes at a time, and the next look begins behind it. */
                    to = equal_until(raw, at + 64, seen, distance);
                    next = to + 1;
                    runs = 0;
                }
                if (searches && from >= behind + 8)
                    search(p, raw, behind, from, from - 4);
                if (to > behind)
                    behind = to;
                match(p, raw, from, to, distance);
            }
            at = next;
        }
    }
    if (searches) {
        if (behind <= last)
            search(p, raw, behind, end, last);
        if (p->steps < SEARCH_LAST)
            p->rest = 0;
        else
            p->resting = p->rest = 2 * p->rest + 1 < REST_MAX ? 2 * p->rest + 1 : REST_MAX;
    } else {
        p->resting--;
    }
    *shared = local;
}

static uint32_t xxh32(const uint8_t *data, size_t size)
{
    struct checksum sum = checksum_of(data, size);
    return checksum_end(&sum);
}

/* Ends the block: the match in hand and the last literals. Returns where it ends; nothing that more frames need is changed. */
static uint8_t *finished(const struct packer *of, const uint8_t *raw, uint32_t size)
{
    struct packer *p = &(struct packer){.out = of->out, .used = of->used, .anchor = of->anchor,
                                        .begins = of->begins, .ends = of->ends, .distance = of->distance};
    if (p->begins != p->ends) {
        if (p->ends > size - LITERALS_LAST)
            p->ends = size - LITERALS_LAST;
        put(p, raw);
    }
    uint32_t literals = size - p->anchor;
    uint8_t *o = p->out + p->used;
    *o++ = (uint8_t)((literals < 15 ? literals : 15) << 4);
    if (literals >= 15)
        o = length(o, literals - 15);
    memcpy(o, raw + p->anchor, literals);
    return o + literals;
}

/* ---- Stretch ---------------------------------------------------------------------------------------------------------------- */

struct flow {
    struct tuple tuple;
    uint32_t begins; /* its last frame, in the stretch */
};

/* Any other. All zero is free: facts of no frame are. */
struct other_flow {
    struct facts facts;
    uint32_t begins;
};

typedef struct {
    PyObject_HEAD
    uint8_t *room, *packed_room; /* with the words around a link */
    uint8_t *out;
    Py_ssize_t capacity, limit, used; /* full at the limit, which is the capacity unless less was asked for */
    unsigned long long frames, hardware, wire, captured, malformed, first_ns, last_ns;
    unsigned long long heard[INTERFACES_MAX], stamped[INTERFACES_MAX]; /* of frames and of hardware, each interface's */
    struct packer packer;
    uint32_t searched[SEARCH_SLOTS], as_long[SIZE_SLOTS];
    uint64_t slots[KEY_SLOTS]; /* 0 is free: no key is 0, its kind is at least 1 */
    uint64_t keys[KEYS_MAX];   /* the same, one after the other */
    uint64_t recent[FRAME_KEYS_MAX]; /* the last frame's: most of them are this frame's, too */
    uint64_t plain_mac, plain_macs_type, plain[4]; /* the same of the last plain frame that was new */
    uint32_t key_count;
    int overflow;
    struct flow flows[FLOW_SLOTS];
    struct other_flow others[OTHER_SLOTS];
    Py_ssize_t exports;
    int busy;
} Stretch;

static void forget(Stretch *s)
{
    s->used = 0;
    s->frames = s->hardware = s->wire = s->captured = s->malformed = s->first_ns = s->last_ns = 0;
    memset(s->heard, 0, sizeof s->heard);
    memset(s->stamped, 0, sizeof s->stamped);
    s->key_count = 0;
    s->overflow = 0;
    memset(s->slots, 0, sizeof s->slots);
    memset(s->recent, 0, sizeof s->recent);
    s->plain_mac = s->plain_macs_type = 0;
    memset(s->plain, 0, sizeof s->plain);
    memset(s->flows, 0, sizeof s->flows);
    memset(s->others, 0, sizeof s->others);
    struct packer *p = &s->packer;
    p->used = 0;
    p->anchor = p->begins = p->ends = p->distance = p->previous = p->waits = p->until = p->resting = p->rest = 0;
    p->steps = SEARCH_FIRST;
    p->recent = s->searched;
    p->as_long = s->as_long;
    memset(s->searched, 0, sizeof s->searched);
    memset(s->as_long, 0, sizeof s->as_long);
}

_Static_assert(KEY_SLOTS == 1u << (64 - 51), "the slot is the product's highest bits");

static inline void insert(Stretch *s, uint64_t k)
{
    uint32_t at = (uint32_t)(k * 0x9E3779B97F4A7C15ull >> 51);
    while (s->slots[at] != 0) {
        if (s->slots[at] == k)
            return;
        at = (at + 1) & (KEY_SLOTS - 1);
    }
    if (s->key_count == KEYS_MAX) {
        s->overflow = 1;
        return;
    }
    s->slots[at] = k;
    s->keys[s->key_count++] = k;
}

static void insert_all(Stretch *s, const struct facts *f)
{
    uint64_t keys[FRAME_KEYS_MAX];
    int count = keys_of(f, keys);
    for (int i = 0; i < count; i++)
        if (keys[i] != s->recent[i]) {
            s->recent[i] = keys[i];
            insert(s, keys[i]);
        }
}

/* Count a frame and make sure its keys are in the set.
 * Returns where the last frame of its flow begins; `begins` when there was none. */
static inline uint32_t note(Stretch *s, const uint8_t *m, uint32_t n, uint32_t wire, uint64_t stamp, uint32_t begins)
{
    if (s->frames == 0 || stamp < s->first_ns)
        s->first_ns = stamp;
    if (s->frames == 0 || stamp > s->last_ns)
        s->last_ns = stamp;
    s->frames++;
    s->wire += wire;
    s->captured += n;
    struct facts f;
    struct tuple t;
    if (plain(&t, m, n)) {
        struct flow *seen = &s->flows[flow_slot(&t)];
        if (same(&seen->tuple, &t)) {
            uint32_t before = seen->begins;
            seen->begins = begins;
            return before;
        }
        *seen = (struct flow){t, begins};
        if (s->overflow)
            return begins;
        if (t.mac != s->plain_mac || t.macs_type != s->plain_macs_type) {
            s->plain_mac = t.mac;
            s->plain_macs_type = t.macs_type;
            facts_of(&f, m, n);
            insert_all(s, &f);
            return begins;
        }
        /* The common case by hand: what facts_of and keys_of make of it, less what was the same in the last such frame. */
        uint64_t keys[4] = {key(KIND_IPV4, be32(m + 26)), key(KIND_IPV4, be32(m + 30)), key(KIND_PORT, be16(m + 34)), key(KIND_PORT, be16(m + 36))};
        for (int i = 0; i < 4; i++)
            if (keys[i] != s->plain[i]) {
                s->plain[i] = keys[i];
                insert(s, keys[i]);
            }
        return begins;
    }
    facts_of(&f, m, n);
    uint64_t w[7], h = 0;
    memcpy(w, &f, sizeof w);
    for (int i = 0; i < 7; i++)
        h = (h ^ w[i]) * 0x9E3779B97F4A7C15ull, h ^= h >> 32;
    struct other_flow *seen = &s->others[h % OTHER_SLOTS];
    uint32_t before = begins;
    if (memcmp(&seen->facts, &f, sizeof f) == 0) {
        before = seen->begins;
    } else {
        seen->facts = f;
        if (!s->overflow)
            insert_all(s, &f);
    }
    seen->begins = begins;
    return before;
}

struct cursor { uint64_t index, offset; int why; };

/* Frames of a block from the cursor on, until it ends, the stretch is full or a frame belongs to the next segment. */
static struct cursor walk(Stretch *s, const uint8_t *b, uint64_t size, struct cursor c, uint64_t cut_ns, uint64_t mad_ns,
                          uint32_t interface, uint32_t apart)
{
    c.why = BLOCK_DONE;
    if (size < BLOCK_HEADER) {
        s->malformed++;
        return c;
    }
    uint64_t count = ld32(b + 12), end = ld32(b + 20);
    if (c.index == 0)
        c.offset = ld32(b + 16);
    while (c.index < count) {
        if (end > size || c.offset < BLOCK_HEADER || c.offset + FRAME_HEADER > end)
            goto malformed;
        const uint8_t *h = b + c.offset;
        uint32_t next = ld32(h), captured = ld32(h + 12), wire = ld32(h + 16), status = ld32(h + 20), mac = ld16(h + 24);
        uint64_t stamp = (uint64_t)ld32(h + 4) * 1000000000ull + ld32(h + 8);
        if (captured > SNAP_MAX || mac < FRAME_HEADER || c.offset + mac + captured > end)
            goto malformed;
        if (c.index + 1 < count && next < FRAME_HEADER)
            goto malformed;
        if (cut_ns && stamp >= cut_ns && stamp < mad_ns) {
            c.why = CUT_REACHED;
            return c;
        }
        const uint8_t *m = h + mac;
        /* Across the page, where the processor's own looking ahead ends; as much of it as this frame is. Into every cache: past them IMIX
           cost 338 ns a frame for 314, the means of 18 runs each in turns. */
        for (uint32_t line = 0; line < next && line < AHEAD; line += 64)
            __builtin_prefetch(h + AHEAD + line, 0, 3);
        uint32_t tag = (status & 1u << 4) && captured >= 12 ? 4 : 0;
        if (captured > SNAP_MAX - tag)
            captured = SNAP_MAX - tag; /* the section says so, and Wireshark takes no more of a frame */
        uint32_t kept = captured + tag, padded = (kept + 3) & ~3u, total = 32 + padded;
        if (s->used + (Py_ssize_t)total > s->limit) {
            c.why = STRETCH_FULL;
            return c;
        }
        uint8_t *o = s->out + s->used, *data = o + 28;
        if (wire < captured)
            wire = captured;
        wire += tag;
        st32(o, 6);
        st32(o + 4, total);
        st32(o + 8, interface + (status >> 31) * apart);
        st32(o + 12, (uint32_t)(stamp >> 32));
        st32(o + 16, (uint32_t)stamp);
        st32(o + 20, kept);
        st32(o + 24, wire);
        if (tag) {
            uint32_t identifier = status & 1u << 6 ? ld16(h + 36) : 0x8100, control = ld32(h + 32);
            memcpy(data, m, 12);
            data[12] = (uint8_t)(identifier >> 8);
            data[13] = (uint8_t)identifier;
            data[14] = (uint8_t)(control >> 8);
            data[15] = (uint8_t)control;
            memcpy(data + 16, m + 12, captured - 12);
        } else {
            memcpy(data, m, captured);
        }
        st32(data + kept, 0); /* the padding, and some of what is written next */
        st32(o + total - 4, total);
        uint32_t begins = (uint32_t)s->used;
        s->used += total;
        s->hardware += status >> 31;
        s->heard[interface]++;
        s->stamped[interface] += status >> 31;
        uint32_t alike = note(s, tag ? data : m, kept, wire, stamp, begins);
        pack(&s->packer, s->out);
        s->packer.waits = begins;
        s->packer.until = (uint32_t)s->used;
        s->packer.alike = alike;
        c.index++;
        c.offset += next;
    }
    return c;
malformed:
    s->malformed += count - c.index;
    c.index = count;
    return c;
}

/* The same of several blocks, one every `stride` bytes (0: it is one alone). The cursor counts through all of them. */
static struct cursor walk_all(Stretch *s, const uint8_t *b, uint64_t size, uint64_t stride, struct cursor c, uint64_t cut_ns,
                              uint64_t mad_ns, uint32_t interface, uint32_t apart)
{
    uint64_t at = 0, before = 0;
    if (stride == 0)
        stride = size;
    while (size - at > stride) {
        uint64_t count = stride < BLOCK_HEADER ? 0 : ld32(b + at + 12);
        if (c.index < before + count) {
            /* An offset that is not in this block is malformed, and walk says so; from its first frame on, walk asks the block itself. */
            struct cursor own = {c.index - before, c.offset < at ? stride : c.offset - at, 0};
            own = walk(s, b + at, stride, own, cut_ns, mad_ns, interface, apart);
            c = (struct cursor){before + own.index, at + own.offset, own.why};
            if (c.why != BLOCK_DONE)
                return c;
        }
        before += count;
        at += stride;
    }
    struct cursor last = {c.index - before, c.offset < at ? size - at : c.offset - at, 0};
    last = walk(s, b + at, size - at, last, cut_ns, mad_ns, interface, apart);
    return (struct cursor){before + last.index, at + last.offset, last.why};
}

struct packet { const uint8_t *data; uint32_t number, captured, wire, size; uint64_t stamp; };

/* The pcapng block at `at`: 1 an Enhanced Packet Block, 0 another kind, -1 not a block. */
static int packet_at(const uint8_t *b, uint64_t size, uint64_t at, struct packet *p)
{
    if (size - at < 12)
        return -1;
    uint32_t length = ld32(b + at + 4);
    if (length < 12 || length % 4 || length > size - at || ld32(b + at + length - 4) != length)
        return -1;
    p->size = length;
    if (ld32(b + at) != 6)
        return 0;
    if (length < 32 || ld32(b + at + 20) > length - 32)
        return -1;
    p->number = ld32(b + at + 8);
    p->captured = ld32(b + at + 20);
    p->wire = ld32(b + at + 24);
    p->stamp = (uint64_t)ld32(b + at + 12) << 32 | ld32(b + at + 16);
    p->data = b + at + 28;
    return 1;
}

static int taken(Stretch *s)
{
    if (s->busy || s->exports) {
        PyErr_SetString(PyExc_BufferError, "the stretch is being read or filled");
        return 1;
    }
    return 0;
}

static PyObject *stretch_add(Stretch *s, PyObject *args)
{
    Py_buffer block;
    unsigned int interface = 0, apart = 0;
    unsigned long long index, offset, cut_ns, mad_ns, stride = 0;
    if (!PyArg_ParseTuple(args, "y*KKKK|IIK", &block, &index, &offset, &cut_ns, &mad_ns, &interface, &apart, &stride))
        return NULL;
    if (interface >= INTERFACES_MAX || apart > INTERFACES_MAX) {
        PyErr_Format(PyExc_ValueError, "expected an interface of 0 to %u, and at most as many apart", INTERFACES_MAX - 1);
        PyBuffer_Release(&block);
        return NULL;
    }
    if (taken(s)) {
        PyBuffer_Release(&block);
        return NULL;
    }
    struct cursor c = {index, offset, 0};
    if (offset > (unsigned long long)block.len)
        c.offset = (uint64_t)block.len; /* then it is malformed, and no sum below can wrap */
    s->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    c = walk_all(s, block.buf, (uint64_t)block.len, stride, c, cut_ns, mad_ns, interface, apart);
    Py_END_ALLOW_THREADS
    s->busy = 0;
    PyBuffer_Release(&block);
    return Py_BuildValue("KKi", (unsigned long long)c.index, (unsigned long long)c.offset, c.why);
}

static PyObject *stretch_survey(Stretch *s, PyObject *args)
{
    Py_buffer raw;
    unsigned int apart = 0;
    if (!PyArg_ParseTuple(args, "y*|I", &raw, &apart))
        return NULL;
    if (taken(s)) {
        PyBuffer_Release(&raw);
        return NULL;
    }
    uint64_t at = 0, size = (uint64_t)raw.len;
    int sound = 1;
    s->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    while (at < size) {
        struct packet p;
        int found = packet_at(raw.buf, size, at, &p);
        if (found < 0) {
            sound = 0;
            break;
        }
        if (found) {
            note(s, p.data, p.captured, p.wire, p.stamp, 0);
            s->hardware += apart && p.number >= apart;
        }
        at += p.size;
    }
    Py_END_ALLOW_THREADS
    s->busy = 0;
    PyBuffer_Release(&raw);
    return PyBool_FromLong(sound);
}

/* What was recorded, packed once more as it was then: the same blocks give the same bytes, as long as nothing above is changed.
 * The cold store (firmware/core/cold.py) leaves a link out when this makes it again, and always looks whether it did. */
static PyObject *stretch_repack(Stretch *s, PyObject *args)
{
    Py_buffer raw;
    if (!PyArg_ParseTuple(args, "y*", &raw))
        return NULL;
    if (taken(s)) {
        PyBuffer_Release(&raw);
        return NULL;
    }
    int sound = raw.len <= s->capacity;
    uint64_t at = 0, size = (uint64_t)raw.len;
    forget(s);
    s->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    if (sound)
        memcpy(s->out, raw.buf, size);
    while (sound && at < size) {
        struct packet p;
        /* Packet blocks only, and none so short that the packer would never have met it. */
        sound = packet_at(s->out, size, at, &p) > 0;
        if (!sound)
            break;
        uint32_t alike = note(s, p.data, p.captured, p.wire, p.stamp, (uint32_t)at);
        pack(&s->packer, s->out);
        s->packer.waits = (uint32_t)at;
        at += p.size;
        s->packer.until = (uint32_t)at;
        s->packer.alike = alike;
    }
    Py_END_ALLOW_THREADS
    s->busy = 0;
    s->used = (Py_ssize_t)at;
    if (!sound)
        forget(s);
    PyBuffer_Release(&raw);
    return PyBool_FromLong(sound);
}

/* Ascending, byte by byte from the lowest; a byte that is the same in all (most are) costs one look. */
static void sorted(uint64_t *keys, uint64_t *other, uint32_t count)
{
    for (int shift = 0; shift < 64; shift += 8) {
        uint32_t places[256] = {0}, at = 0;
        for (uint32_t i = 0; i < count; i++)
            places[keys[i] >> shift & 255]++;
        if (count == 0 || places[keys[0] >> shift & 255] == count)
            continue;
        for (int i = 0; i < 256; i++) {
            uint32_t n = places[i];
            places[i] = at;
            at += n;
        }
        for (uint32_t i = 0; i < count; i++)
            other[places[keys[i] >> shift & 255]++] = keys[i];
        memcpy(keys, other, count * sizeof *keys);
    }
}

static PyObject *stretch_keys(Stretch *s, PyObject *Py_UNUSED(ignored))
{
    uint64_t other[KEYS_MAX];
    uint32_t count = s->overflow ? 0 : s->key_count;
    sorted(s->keys, other, count);
    return PyBytes_FromStringAndSize((const char *)s->keys, (Py_ssize_t)count * 8);
}

#include "crc.h"

#define RECORD_SIZE 64u /* firmware/core/index.py, where each place in it is explained */
enum { FLAG_ANYTHING = 1, FLAG_NO_FRAMES = 2 };

/* Its place in an index, as index.packed_record makes it, with no object in between. */
static PyObject *stretch_record(Stretch *s, PyObject *args)
{
    unsigned long long offset;
    unsigned int stored;
    if (!PyArg_ParseTuple(args, "KI", &offset, &stored))
        return NULL;
    uint64_t other[KEYS_MAX];
    uint32_t count = s->overflow ? 0 : s->key_count, size = RECORD_SIZE + 8 * count;
    sorted(s->keys, other, count);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (result == NULL)
        return NULL;
    uint8_t *r = (uint8_t *)PyBytes_AS_STRING(result);
    const uint64_t longs[] = {offset, 0, s->first_ns, s->last_ns, s->wire};
    memcpy(r + 8, longs, sizeof longs);
    const uint32_t words[] = {stored, (uint32_t)s->used};
    memcpy(r + 16, words, sizeof words);
    const uint32_t counts[] = {(uint32_t)s->frames, (s->overflow ? FLAG_ANYTHING : 0) | (s->frames ? 0 : FLAG_NO_FRAMES), count, (uint32_t)s->captured};
    memcpy(r + 48, counts, sizeof counts);
    memcpy(r + RECORD_SIZE, s->keys, 8u * count);
    st32(r, size);
    st32(r + 4, crc32_of(r + 8, size - 8));
    return result;
}

/* A link as it lies in its stretch: it is what it is until the stretch takes more or is cleared. It does not hold that up as a view of
 * the frames does: an error on the way to the disk carries the view along, and recording has to go on. */
typedef struct {
    PyObject_HEAD
    Stretch *of;
    uint8_t *begins;
    Py_ssize_t size;
} Link;

static void link_dealloc(Link *link)
{
    Py_DECREF(link->of);
    PyObject_Free(link);
}

static int link_getbuffer(Link *link, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)link, link->begins, link->size, 0, flags);
}

static PyBufferProcs link_buffer = {(getbufferproc)link_getbuffer, NULL};

static PyTypeObject LinkType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "firmware.core._kernel.Link",
    .tp_doc = "A stretch as one link of the chain; seen through a memoryview only.",
    .tp_basicsize = sizeof(Link),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)link_dealloc,
    .tp_as_buffer = &link_buffer,
};

/* is_summed: 0 leaves its checksum to who looks at the link's bytes next anyway (digest.c). */
static PyObject *stretch_packed(Stretch *s, PyObject *args)
{
    int is_summed = 1;
    if (!PyArg_ParseTuple(args, "|p", &is_summed))
        return NULL;
    if (s->busy) {
        PyErr_SetString(PyExc_BufferError, "the stretch is being filled");
        return NULL;
    }
    if (s->used == 0) {
        PyErr_SetString(PyExc_ValueError, "expected at least one frame");
        return NULL;
    }
    uint32_t size = (uint32_t)s->used;
    pack(&s->packer, s->out);
    size_t stored = (size_t)(finished(&s->packer, s->out, size) - s->packer.out);
    int as_it_is = stored >= size;
    if (as_it_is)
        stored = size;
    /* Where it lies: a copy would be a tenth of what a frame costs. */
    uint8_t *block = as_it_is ? s->out : s->packer.out;
    s->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    st32(block - LINK_HEAD, (uint32_t)stored | (as_it_is ? 1u << 31 : 0));
    st32(block + stored, is_summed ? xxh32(block, stored) : 0);
    Py_END_ALLOW_THREADS
    s->busy = 0;
    Link *link = PyObject_New(Link, &LinkType);
    if (link == NULL)
        return NULL;
    Py_INCREF(s);
    link->of = s;
    link->begins = block - LINK_HEAD;
    link->size = (Py_ssize_t)stored + LINK_HEAD + LINK_TAIL;
    PyObject *view = PyMemoryView_FromObject((PyObject *)link);
    Py_DECREF(link);
    return view;
}

/* Its link will begin at byte `place` of a file: it lies in memory as it will there, so that a device fetches whole blocks of it. */
static void lie_at(Stretch *s, unsigned long long place)
{
    s->out = s->room + place % PAGE + LINK_HEAD;
    s->packer.out = s->packed_room + place % PAGE + LINK_HEAD;
}

static PyObject *stretch_clear(Stretch *s, PyObject *args)
{
    unsigned long long place = 0;
    Py_ssize_t limit = s->capacity;
    if (!PyArg_ParseTuple(args, "|Kn", &place, &limit) || taken(s))
        return NULL;
    if (limit < (Py_ssize_t)FRAME_ROOM || limit > s->capacity) {
        PyErr_Format(PyExc_ValueError, "expected a limit of %u bytes to the capacity", FRAME_ROOM);
        return NULL;
    }
    s->limit = limit;
    forget(s);
    lie_at(s, place);
    Py_RETURN_NONE;
}

static uint8_t *pages(size_t size)
{
    size_t large = size / LARGE_PAGE * LARGE_PAGE, alignment = large ? LARGE_PAGE : PAGE;
    uint8_t *room = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (room == NULL)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (large)
        (void)madvise(room, large, MADV_HUGEPAGE); /* a wish: a kernel without them says no, and all is as it was */
#endif
    memset(room, 0, size);
    return room;
}

static PyObject *stretch_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    Py_ssize_t capacity;
    if (!PyArg_ParseTuple(args, "n", &capacity))
        return NULL;
    if (capacity < (Py_ssize_t)FRAME_ROOM || capacity > 64 << 20) {
        PyErr_Format(PyExc_ValueError, "expected a capacity of %u to %d bytes", FRAME_ROOM, 64 << 20);
        return NULL;
    }
    Stretch *s = (Stretch *)type->tp_alloc(type, 0);
    if (s == NULL)
        return NULL;
    /* Both zeroed pages: what was never written is compared with, and then masked out. */
    s->room = pages(PAGE + LINK_HEAD + (size_t)capacity + SLACK);
    s->packed_room = pages(PAGE + LINK_HEAD + packed_max((size_t)capacity));
    if (s->room == NULL || s->packed_room == NULL) {
        Py_DECREF(s);
        return PyErr_NoMemory();
    }
    lie_at(s, 0);
    s->capacity = s->limit = capacity;
    forget(s);
    return (PyObject *)s;
}

static void stretch_dealloc(Stretch *s)
{
    free(s->room);
    free(s->packed_room);
    Py_TYPE(s)->tp_free((PyObject *)s);
}

static int stretch_getbuffer(Stretch *s, Py_buffer *view, int flags)
{
    if (s->busy) {
        PyErr_SetString(PyExc_BufferError, "the stretch is being filled");
        return -1;
    }
    if (PyBuffer_FillInfo(view, (PyObject *)s, s->out, s->used, 1, flags) < 0)
        return -1;
    s->exports++;
    return 0;
}

static void stretch_releasebuffer(Stretch *s, Py_buffer *Py_UNUSED(view)) { s->exports--; }

static Py_ssize_t stretch_length(Stretch *s) { return s->used; }

static PyObject *stretch_by_interface(Stretch *s, void *Py_UNUSED(closure))
{
    PyObject *rows = PyTuple_New(INTERFACES_MAX);
    for (Py_ssize_t i = 0; rows != NULL && i < (Py_ssize_t)INTERFACES_MAX; i++) {
        PyObject *row = Py_BuildValue("KK", s->heard[i], s->stamped[i]);
        if (row == NULL)
            Py_CLEAR(rows);
        else
            PyTuple_SET_ITEM(rows, i, row);
    }
    return rows;
}

static PyObject *stretch_overflow(Stretch *s, void *Py_UNUSED(closure)) { return PyBool_FromLong(s->overflow); }

#define COUNTER(name) \
    static PyObject *stretch_##name(Stretch *s, void *Py_UNUSED(closure)) { return PyLong_FromUnsignedLongLong(s->name); }
COUNTER(frames)
COUNTER(hardware)
COUNTER(wire)
COUNTER(captured)
COUNTER(malformed)
COUNTER(first_ns)
COUNTER(last_ns)

static PyGetSetDef stretch_getset[] = {
    {"frames", (getter)stretch_frames, NULL, "Frames in it.", NULL},
    {"hardware", (getter)stretch_hardware, NULL, "Of these, stamped by the hardware.", NULL},
    {"bytes_wire", (getter)stretch_wire, NULL, "Their length on the wire.", NULL},
    {"bytes_captured", (getter)stretch_captured, NULL, "What was kept of it.", NULL},
    {"malformed", (getter)stretch_malformed, NULL, "Frames a block announced and did not hold.", NULL},
    {"first_ns", (getter)stretch_first_ns, NULL, "Lowest stamp, UTC ns.", NULL},
    {"last_ns", (getter)stretch_last_ns, NULL, "Highest stamp, UTC ns.", NULL},
    {"by_interface", (getter)stretch_by_interface, NULL, "(frames, of these stamped by the hardware) of each interface.", NULL},
    {"overflow", (getter)stretch_overflow, NULL, "Too many keys: may contain anything.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef stretch_methods[] = {
    {"add", (PyCFunction)stretch_add, METH_VARARGS, "add(block, index, offset, cut_ns, mad_ns, interface=0, apart=0, stride=0) -> (index, offset, why); a frame the hardware stamped gets the number interface + apart; stride: of several blocks in one piece of memory"},
    {"survey", (PyCFunction)stretch_survey, METH_VARARGS, "survey(enhanced packet blocks, apart=0) -> whether they were sound; apart: from this number on they were stamped by hardware"},
    {"repack", (PyCFunction)stretch_repack, METH_VARARGS, "repack(enhanced packet blocks) -> whether they were sound; then packed() is as when they were recorded"},
    {"packed", (PyCFunction)stretch_packed, METH_VARARGS, "packed(is_summed=True): what was added as one block of an LZ4 frame: size word, block, xxh32 or room for it; at least one frame. Good until more is added."},
    {"record", (PyCFunction)stretch_record, METH_VARARGS, "record(offset, stored_bytes) -> its record in an index, its link being there; as index.packed_record makes it"},
    {"keys", (PyCFunction)stretch_keys, METH_NOARGS, "Its keys, sorted, little endian; empty after an overflow."},
    {"clear", (PyCFunction)stretch_clear, METH_VARARGS, "clear(place=0, limit=capacity): empty it; what comes will be appended to a file of this size, and full it is at the limit."},
    {NULL, NULL, 0, NULL},
};

static PyBufferProcs stretch_buffer = {(getbufferproc)stretch_getbuffer, (releasebufferproc)stretch_releasebuffer};
static PySequenceMethods stretch_sequence = {.sq_length = (lenfunc)stretch_length};

static PyTypeObject StretchType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "firmware.core._kernel.Stretch",
    .tp_doc = "Enhanced Packet Blocks of some frames, and the index keys of what is in them.",
    .tp_basicsize = sizeof(Stretch),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = stretch_new,
    .tp_dealloc = (destructor)stretch_dealloc,
    .tp_methods = stretch_methods,
    .tp_getset = stretch_getset,
    .tp_as_buffer = &stretch_buffer,
    .tp_as_sequence = &stretch_sequence,
};

/* ---- Unpacking -------------------------------------------------------------------------------------------------------------- */

/* An LZ4 block, some sequences at a time, so that a search looks at frames while they are in the nearest cache, in memory that the next
 * stretch uses again; the library's reader for Python hands out a copy in memory that is new each time. For whoever wants all of it,
 * lz4chain.decompressed takes the library. Both read the same (tests/core/test_packing.py, tests/fuzz/test_segment.py). */
#define BLOCK_MAX (4u << 20) /* lz4chain.RAW_MAX */
#define NEAR (64u << 10)     /* between two looks at the frames: with what matches refer back to, half of a small second cache */

struct unpacker {
    const uint8_t *in, *end;
    uint8_t *out; /* with SLACK behind the room */
    size_t used, room;
};

/* A length's further bytes; 0 when the block ends in them. */
static inline int longer(const uint8_t **in, const uint8_t *end, size_t *length)
{
    uint8_t more = 255;
    while (more == 255) {
        if (*in == end)
            return 0;
        more = *(*in)++;
        *length += more; /* at most 255 times what a buffer holds: never wraps */
    }
    return 1;
}

/* `many` bytes as they lie `distance` before; up to 31 bytes behind them are written as well (SLACK). */
static inline void repeat(uint8_t *to, size_t many, size_t distance)
{
    size_t at = 0;
    if (distance < 32) {
        for (; at < 32; at++)
            to[at] = to[at - distance];
        distance *= 31 / distance + 1; /* from here on it repeats in steps as long as a copy, too */
    }
    for (; at < many; at += 32)
        memcpy(to + at, to + at - distance, 32);
}

/* Until `pause` bytes are there, or a little more: 1 and more follows, 0 the block ends here as it should, -1 it is no block, or there
 * is no room for it. */
static int unpack(struct unpacker *u, size_t pause)
{
    const uint8_t *in = u->in, *end = u->end;
    uint8_t *out = u->out;
    size_t used = u->used, room = u->room;
    int why = 1;
    while (used < pause) {
        why = -1;
        if (in == end)
            break;
        uint8_t token = *in++;
        size_t literals = token >> 4, many = token & 15;
        if (literals == 15 && !longer(&in, end, &literals))
            break;
        if (literals > (size_t)(end - in) || literals > room - used)
            break;
        if (literals <= 32 && end - in >= 32)
            memcpy(out + used, in, 32); /* SLACK */
        else
            memcpy(out + used, in, literals);
        in += literals;
        used += literals;
        if (in == end) {
            why = 0;
            break;
        }
        if (end - in < 2)
            break;
        size_t distance = ld16(in);
        in += 2;
        if (many == 15 && !longer(&in, end, &many))
            break;
        many += 4;
        if (distance == 0 || distance > used || many > room - used)
            break;
        repeat(out + used, many, distance);
        used += many;
        why = 1;
    }
    u->in = in;
    u->used = used;
    return why;
}

/* ---- Finding ---------------------------------------------------------------------------------------------------------------- */

/* A query is terms: group (u32), key (u64), IPv6 address (16 bytes). A frame matches when each group present has a matching term. */
struct query { const uint8_t *terms; uint32_t count, groups; };

static int query_of(Py_buffer *terms, struct query *q)
{
    q->terms = terms->buf;
    q->groups = 0;
    if (terms->len % TERM_SIZE || terms->len > (Py_ssize_t)(TERMS_MAX * TERM_SIZE))
        goto bad;
    q->count = (uint32_t)(terms->len / TERM_SIZE);
    for (uint32_t i = 0; i < q->count; i++) {
        if (ld32(q->terms + i * TERM_SIZE) >= GROUPS_MAX)
            goto bad;
        q->groups |= 1u << ld32(q->terms + i * TERM_SIZE);
    }
    return 0;
bad:
    PyErr_Format(PyExc_ValueError, "expected at most %u terms of %u bytes in %u groups", TERMS_MAX, TERM_SIZE, GROUPS_MAX);
    return -1;
}

static int matches(const struct query *q, const uint8_t *m, uint32_t n)
{
    if (q->count == 0)
        return 1;
    struct facts f;
    uint64_t keys[12];
    uint32_t met = 0;
    facts_of(&f, m, n);
    int count = keys_of(&f, keys);
    for (uint32_t i = 0; i < q->count; i++) {
        const uint8_t *term = q->terms + i * TERM_SIZE;
        uint64_t wanted = ld64(term + 4);
        for (int k = 0; k < count; k++) {
            if (keys[k] != wanted)
                continue;
            /* 56 bits stand for an IPv6 address in the index; here the address itself decides. */
            if (wanted >> 56 == KIND_IPV6 && memcmp(f.address[0], term + 12, 16) && memcmp(f.address[1], term + 12, 16))
                continue;
            met |= 1u << ld32(term);
            break;
        }
    }
    return met == q->groups;
}

/* Of a plain flow the answer is each of its frames': asked once. */
struct verdict {
    struct tuple tuple;
    uint32_t is_wanted;
};

/* A search under way: what was looked at up to `at`, and what of it matches, copied one after the other. */
struct search {
    struct query query;
    uint64_t since_ns, until_ns;
    uint8_t *hits;
    uint64_t at, used, count, first, last;
    struct verdict verdicts[FLOW_SLOTS];
};

static inline int is_wanted(struct search *s, const uint8_t *m, uint32_t n)
{
    struct tuple t;
    if (s->query.count == 0 || !plain(&t, m, n))
        return matches(&s->query, m, n);
    struct verdict *v = &s->verdicts[flow_slot(&t)];
    if (!same(&v->tuple, &t))
        *v = (struct verdict){t, (uint32_t)matches(&s->query, m, n)};
    return (int)v->is_wanted;
}

/* Every block that is whole in the first `size` bytes. */
static void look(struct search *s, const uint8_t *b, uint64_t size)
{
    struct packet p;
    int found;
    for (; s->at < size && (found = packet_at(b, size, s->at, &p)) >= 0; s->at += p.size) {
        if (!found || p.stamp < s->since_ns || p.stamp > s->until_ns || !is_wanted(s, p.data, p.captured))
            continue;
        memcpy(s->hits + s->used, b + s->at, p.size);
        s->used += p.size;
        if (s->count == 0 || p.stamp < s->first)
            s->first = p.stamp;
        if (s->count == 0 || p.stamp > s->last)
            s->last = p.stamp;
        s->count++;
    }
}

/* A stretch as it was, or packed as one LZ4 block of so many bytes unpacked. */
static PyObject *searched(PyObject *args, int is_packed)
{
    Py_buffer from, terms, room = {.buf = NULL};
    Py_ssize_t size = 0;
    struct search *s = PyMem_Calloc(1, sizeof *s);
    if (s == NULL)
        return PyErr_NoMemory();
    unsigned long long since_ns, until_ns;
    PyObject *hits = NULL, *result = NULL;
    if (!(is_packed ? PyArg_ParseTuple(args, "y*ny*KKw*", &from, &size, &terms, &since_ns, &until_ns, &room)
                    : PyArg_ParseTuple(args, "y*y*KK", &from, &terms, &since_ns, &until_ns)))
        goto unparsed;
    if (query_of(&terms, &s->query) < 0)
        goto out;
    if (!is_packed)
        size = from.len;
    else if (size < 0 || size > (Py_ssize_t)BLOCK_MAX || room.len < size + (Py_ssize_t)SLACK) {
        PyErr_Format(PyExc_ValueError, "expected a block of at most %u bytes, and %u more than it has to unpack it in", BLOCK_MAX, SLACK);
        goto out;
    }
    hits = PyBytes_FromStringAndSize(NULL, size);
    if (hits == NULL)
        goto out;
    s->hits = (uint8_t *)PyBytes_AS_STRING(hits);
    s->since_ns = since_ns;
    s->until_ns = until_ns;
    int is_whole = 1;
    Py_BEGIN_ALLOW_THREADS
    if (is_packed) {
        struct unpacker u = {from.buf, (const uint8_t *)from.buf + from.len, room.buf, 0, (size_t)size};
        int more;
        do {
            more = unpack(&u, u.used + NEAR);
            look(s, room.buf, u.used);
        } while (more > 0);
        is_whole = more == 0 && u.used == (size_t)size;
    } else {
        look(s, from.buf, (uint64_t)size);
    }
    Py_END_ALLOW_THREADS
    if (_PyBytes_Resize(&hits, (Py_ssize_t)s->used) < 0)
        goto out;
    if (is_whole)
        result = Py_BuildValue("OKKKO", hits, (unsigned long long)s->count, (unsigned long long)s->first, (unsigned long long)s->last,
                               s->at == (uint64_t)size ? Py_True : Py_False);
    else
        result = Py_NewRef(Py_None);
out:
    Py_XDECREF(hits);
    PyBuffer_Release(&room);
    PyBuffer_Release(&from);
    PyBuffer_Release(&terms);
unparsed:
    PyMem_Free(s);
    return result;
}

static PyObject *scan(PyObject *Py_UNUSED(module), PyObject *args) { return searched(args, 0); }
static PyObject *scan_packed(PyObject *Py_UNUSED(module), PyObject *args) { return searched(args, 1); }

/* ---- Order ------------------------------------------------------------------------------------------------------------------ */

struct place { uint64_t stamp, at; uint32_t size; };

/* Stable; halves that are in order already, as most are, cost one look. */
static void merge_sorted(struct place *rows, struct place *other, size_t count)
{
    if (count < 2)
        return;
    size_t half = count / 2, left = 0, right = half, n = 0;
    merge_sorted(rows, other, half);
    merge_sorted(rows + half, other, count - half);
    if (rows[half - 1].stamp <= rows[half].stamp)
        return;
    memcpy(other, rows, count * sizeof *rows);
    while (left < half && right < count)
        rows[n++] = other[right].stamp < other[left].stamp ? other[right++] : other[left++];
    while (left < half)
        rows[n++] = other[left++];
    while (right < count)
        rows[n++] = other[right++];
}

static PyObject *ordered(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw;
    unsigned long long before_ns;
    if (!PyArg_ParseTuple(args, "y*K", &raw, &before_ns))
        return NULL;
    const uint8_t *b = raw.buf;
    uint64_t size = (uint64_t)raw.len, at = 0, used = 0;
    size_t count = 0, early = 0;
    PyObject *first = NULL, *rest = NULL, *result = NULL;
    /* No packet block is shorter than 32 bytes. */
    struct place *rows = malloc((size / 32 + 1) * 2 * sizeof *rows);
    if (rows == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    for (; at < size; at += rows[count++].size) {
        struct packet p;
        if (packet_at(b, size, at, &p) <= 0) {
            PyErr_SetString(PyExc_ValueError, "expected enhanced packet blocks and nothing else");
            goto out;
        }
        rows[count] = (struct place){p.stamp, at, p.size};
    }
    merge_sorted(rows, rows + count, count);
    while (early < count && rows[early].stamp < before_ns)
        used += rows[early++].size;
    first = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)used);
    rest = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(size - used));
    if (first == NULL || rest == NULL)
        goto out;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(first), *later = (uint8_t *)PyBytes_AS_STRING(rest);
    for (size_t i = 0; i < count; i++) {
        uint8_t **o = i < early ? &to : &later;
        memcpy(*o, b + rows[i].at, rows[i].size);
        *o += rows[i].size;
    }
    result = Py_BuildValue("OKKKO", first, (unsigned long long)early, early ? (unsigned long long)rows[0].stamp : 0ull,
                           early ? (unsigned long long)rows[early - 1].stamp : 0ull, rest);
out:
    free(rows);
    Py_XDECREF(first);
    Py_XDECREF(rest);
    PyBuffer_Release(&raw);
    return result;
}

/* Whether a sorted set of keys leaves the query possible. */
static int possible(const struct query *q, const uint8_t *keys, size_t count)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        const uint8_t *term = q->terms + i * TERM_SIZE;
        uint64_t wanted = ld64(term + 4);
        size_t low = 0, high = count;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (ld64(keys + 8 * middle) < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < count && ld64(keys + 8 * low) == wanted)
            met |= 1u << ld32(term);
    }
    return met == q->groups;
}

/* Records of a piece of an index, until one is not whole: (places of those that may hold frames that match, each record's first field,
 * end of the last whole one, its place or -1, whether the next one is only not here yet). */
static PyObject *probe(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer piece, terms;
    unsigned long long since_ns, until_ns;
    struct query q;
    if (!PyArg_ParseTuple(args, "y*y*KK", &piece, &terms, &since_ns, &until_ns))
        return NULL;
    PyObject *places = NULL, *firsts = NULL, *result = NULL;
    uint64_t size = (uint64_t)piece.len, at = 0, count = 0, chosen = 0;
    int64_t last = -1;
    int sound = 1;
    uint64_t *where = NULL;
    if (query_of(&terms, &q) < 0)
        goto out;
    firsts = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(size / RECORD_SIZE * 8));
    where = PyMem_Malloc((size_t)(size / RECORD_SIZE + 1) * sizeof *where);
    if (firsts == NULL || where == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    uint8_t *first = (uint8_t *)PyBytes_AS_STRING(firsts);
    const uint8_t *b = piece.buf;
    Py_BEGIN_ALLOW_THREADS
    while (size - at >= RECORD_SIZE) {
        const uint8_t *r = b + at;
        uint64_t bytes = ld32(r), keys = ld32(r + 56);
        if (bytes < RECORD_SIZE || keys > KEYS_MAX || bytes != RECORD_SIZE + 8 * keys) {
            sound = 0;
            break;
        }
        if (bytes > size - at)
            break;
        if (crc32_of(r + 8, (size_t)bytes - 8) != ld32(r + 4)) {
            sound = 0;
            break;
        }
        memcpy(first + 8 * count++, r + 8, 8);
        if (ld32(r + 48) && ld64(r + 32) >= since_ns && ld64(r + 24) <= until_ns
            && (ld32(r + 52) & FLAG_ANYTHING || possible(&q, r + RECORD_SIZE, (size_t)keys)))
            where[chosen++] = at;
        last = (int64_t)at;
        at += bytes;
    }
    Py_END_ALLOW_THREADS
    places = PyList_New((Py_ssize_t)chosen);
    for (uint64_t i = 0; places != NULL && i < chosen; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(where[i]);
        if (number == NULL)
            Py_CLEAR(places);
        else
            PyList_SET_ITEM(places, (Py_ssize_t)i, number);
    }
    if (places == NULL || _PyBytes_Resize(&firsts, (Py_ssize_t)(8 * count)) < 0)
        goto out;
    result = Py_BuildValue("OOKLO", places, firsts, (unsigned long long)at, (long long)last, sound ? Py_True : Py_False);
out:
    PyMem_Free(where);
    Py_XDECREF(places);
    Py_XDECREF(firsts);
    PyBuffer_Release(&piece);
    PyBuffer_Release(&terms);
    return result;
}

static PyObject *checksum(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "y*", &data))
        return NULL;
    uint32_t sum;
    Py_BEGIN_ALLOW_THREADS
    sum = xxh32(data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(sum);
}

static PyObject *crc32_py(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    int is_plain = 0;
    if (!PyArg_ParseTuple(args, "y*|p", &data, &is_plain))
        return NULL;
    uint32_t sum = crc32_by(data.buf, (size_t)data.len, crc_is_fast && !is_plain);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(sum);
}

static PyObject *ipv6_key(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer address;
    if (!PyArg_ParseTuple(args, "y*", &address))
        return NULL;
    PyObject *result = NULL;
    if (address.len == 16)
        result = PyLong_FromUnsignedLongLong(ipv6_value(address.buf));
    else
        PyErr_SetString(PyExc_ValueError, "expected an address of 16 bytes");
    PyBuffer_Release(&address);
    return result;
}

static PyMethodDef functions[] = {
    {"scan", scan, METH_VARARGS, "scan(enhanced packet blocks, terms, since_ns, until_ns) -> (hits, frames, first_ns, last_ns, sound)"},
    {"scan_packed", scan_packed, METH_VARARGS, "scan_packed(LZ4 block, size unpacked, terms, since_ns, until_ns, room) -> as scan, or None: it is no block of this size; room: to unpack it in"},
    {"ordered", ordered, METH_VARARGS, "ordered(enhanced packet blocks, before_ns) -> (those before it by stamp, frames, first_ns, last_ns, the others by stamp)"},
    {"probe", probe, METH_VARARGS, "probe(index records, terms, since_ns, until_ns) -> (places, first fields, end, last place, sound)"},
    {"checksum", checksum, METH_VARARGS, "checksum(bytes) -> their xxh32, as the LZ4 frame format has it behind a block"},
    {"crc32", crc32_py, METH_VARARGS, "crc32(data, is_plain=False) -> as zlib's; is_plain: without what only some processors have"},
    {"ipv6_key", ipv6_key, METH_VARARGS, "ipv6_key(address) -> 56 bits"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "One pass over every frame.", -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void)
{
    if (PyType_Ready(&StretchType) < 0 || PyType_Ready(&LinkType) < 0)
        return NULL;
    make_crc_tables();
    PyObject *m = PyModule_Create(&module);
    if (m == NULL)
        return NULL;
    if (PyModule_AddObjectRef(m, "Stretch", (PyObject *)&StretchType) < 0) {
        Py_DECREF(m);
        return NULL;
    }
    return m;
}
