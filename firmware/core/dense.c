/* Frames apart into columns, and back: what a general compressor cannot see from a row of bytes.
 *
 * split(blocks) -> streams     takes pcapng blocks apart; join(streams, size) -> the same blocks, byte for byte
 * take_interfaces(blocks) -> (blocks of interface 0, stream), which is what split wants; put_interfaces(blocks, stream) -> as they were
 *
 * Why C: every byte of every frame is looked at several times. Everything runs with the interpreter lock released.
 * Trusts nothing: blocks and streams may be any bytes. What is not an Enhanced Packet Block as kernel.c writes it is carried as it is;
 * streams that do not fit each other are refused. Memory is bounded by the sizes of what is given. (tests/fuzz/test_dense.py)
 *
 * How a frame is said, when earlier ones are known (front page: firmware/core/dense.py):
 *   fields    lengths, checksums (of IP, TCP, UDP, OpenIGTLink, C37.118), IP identification, TCP numbers and stamps are replaced by
 *             what they are off from their prediction
 *   flow      frames with the same addresses and ports; their headers are the rows of one table
 *   class     frames of a flow with payloads of one length, and of one kind where a byte tells kinds apart; their payloads are the rows
 *             of another table
 *   column    one byte position of a table, said as it differs from an earlier row by the column's own mode; constant ones cost nothing
 *   bulk      payloads a table does not help
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little endian boards, as kernel.c"
#endif

#define RAW_MAX (64u << 20)   /* one run; ours are a few MiB */
#define SNAP_MAX 262144u
#define ROWS_MIN 6u           /* fewer rows do not pay for a table */
#define SAMPLE 2048u          /* rows looked at to choose a mode */
#define TALKS 4096u           /* power of two; conversations remembered, 128 bytes each */
#define PAIRS 65536u          /* power of two; what followed two classes last time */
#define NONE 0xffffffffu
#define LOOKS_MAX 64u      /* in a table of flows or classes */
#define DIVIDE_MIN 24u     /* a class of fewer rows is not divided */
#define DIVIDE_WIDTH 256u  /* bytes of a payload looked at for it */
#define DIVIDE_SAMPLE 512u
#define DIVIDE_TRIES 12u
#define NOISE_WIDTH_MIN 64u /* a table of fewer columns is quickly planned */
#define NOISE_PROBES 12u
#define NOISE_BITS 7.0 /* of 8 a row: noise to the best of all comparisons */

enum { HEAD, SHAPE, IDS, FIRST, BULK, OTHER, BITS, WIRE, MODES, TIMES, BUCKET };
#define BUCKETS 7u
#define STREAMS (BUCKET + BUCKETS)

enum { CONSTANT, PLAIN, DELTA, DELTA_LE, DELTA_BE, BEFORE, DELTA2, MODE_COUNT };
enum { SAME2, SAME1, KNOWN, FRESH, VERBATIM };
enum { TIME_GAP, TIME_GAP_MEAN, TIME_PERIOD, TIME_PERIOD_MEAN, TIME_COUNT };

static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static inline uint32_t ld32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline void st32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void sb16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static inline void sb32(uint8_t *p, uint32_t v) { sb16(p, v >> 16); sb16(p + 2, v); }

static uint32_t hashed(const uint8_t *p, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15ull;
    for (; n >= 4; p += 4, n -= 4)
        h = (h ^ ld32(p)) * 0x9E3779B97F4A7C15ull, h ^= h >> 29;
    for (; n; p++, n--)
        h = (h ^ *p) * 0x9E3779B97F4A7C15ull, h ^= h >> 29;
    return (uint32_t)(h >> 32);
}

/* ---- Buffers ---------------------------------------------------------------------------------------------------------------- */

struct out { uint8_t *p; size_t n, room; int failed; };

static uint8_t *reserve(struct out *o, size_t n)
{
    if (o->failed)
        return NULL;
    if (o->room - o->n < n) {
        size_t room = o->room * 2 + n + 256;
        uint8_t *p = realloc(o->p, room);
        if (p == NULL) {
            o->failed = 1;
            return NULL;
        }
        o->p = p;
        o->room = room;
    }
    uint8_t *at = o->p + o->n;
    o->n += n;
    return at;
}

static void put(struct out *o, const void *p, size_t n)
{
    uint8_t *at = reserve(o, n);
    if (at != NULL && n)
        memcpy(at, p, n);
}

static inline void put1(struct out *o, uint8_t v)
{
    if (o->n < o->room)
        o->p[o->n++] = v;
    else
        put(o, &v, 1);
}

static void put_number(struct out *o, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        put1(o, (uint8_t)(v | 128));
    put1(o, (uint8_t)v);
}

struct in { const uint8_t *p; size_t n, at; int failed; };

static inline uint8_t get1(struct in *s)
{
    if (s->at < s->n)
        return s->p[s->at++];
    s->failed = 1;
    return 0;
}

static const uint8_t *get(struct in *s, size_t n)
{
    if (s->failed || s->n - s->at < n) {
        s->failed = 1;
        return NULL;
    }
    s->at += n;
    return s->p + s->at - n;
}

static uint64_t get_number(struct in *s)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = get1(s);
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return v;
    }
    s->failed = 1;
    return 0;
}

struct bits { uint64_t word; int count; };

static void put_bits(struct out *o, struct bits *b, uint64_t v, int n)
{
    while (n > 0) {
        int some = n < 32 ? n : 32;
        b->word |= (v & ((1ull << some) - 1)) << b->count;
        b->count += some;
        for (; b->count >= 8; b->count -= 8, b->word >>= 8)
            put1(o, (uint8_t)b->word);
        v >>= some - 1, v >>= 1;
        n -= some;
    }
}

static uint64_t get_bits(struct in *s, struct bits *b, int n)
{
    uint64_t v = 0;
    for (int done = 0; done < n;) {
        int some = n - done < 32 ? n - done : 32;
        for (; b->count < some; b->count += 8)
            b->word |= (uint64_t)get1(s) << b->count;
        v |= (b->word & ((1ull << some) - 1)) << done;
        b->word >>= some;
        b->count -= some;
        done += some;
    }
    return v;
}

/* ---- Fields ----------------------------------------------------------------------------------------------------------------- */

/* What both directions of a conversation said last. */
struct side { uint32_t next, stamp; uint16_t id; uint8_t unsummed; };
struct talk { uint8_t key[40]; struct side side[2]; };

struct parse { uint32_t l3, l4, size; uint8_t protocol, version, has_ports; };

/* Where the headers end. Looks only at bytes that `fields` never changes. */
static void parsed(const uint8_t *m, uint32_t n, struct parse *p)
{
    memset(p, 0, sizeof *p);
    if (n < 14) {
        p->size = n;
        return;
    }
    uint32_t at = 12;
    for (int depth = 0; depth < 4 && n >= at + 6 && (be16(m + at) == 0x8100 || be16(m + at) == 0x88a8); depth++)
        at += 4;
    uint16_t type = be16(m + at);
    at += 2;
    p->l3 = p->size = at;
    if (type == 0x0800 && n >= at + 20 && m[at] >> 4 == 4 && (m[at] & 15) >= 5 && n >= at + (m[at] & 15) * 4u) {
        p->version = 4;
        p->l4 = p->size = at + (m[at] & 15) * 4u;
        p->protocol = be16(m + at + 6) & 0x3fff ? 0 : m[at + 9]; /* a fragment is no datagram */
    } else if (type == 0x86dd && n >= at + 40 && m[at] >> 4 == 6) {
        p->version = 6;
        p->l4 = p->size = at + 40;
        p->protocol = m[at + 6];
    } else {
        return;
    }
    if (p->protocol == 17 && n >= p->l4 + 8) {
        p->has_ports = 1;
        p->size = p->l4 + 8;
    } else if (p->protocol == 6 && n >= p->l4 + 20 && m[p->l4 + 12] >> 4 >= 5 && n >= p->l4 + (m[p->l4 + 12] >> 4) * 4u) {
        p->has_ports = 1;
        p->size = p->l4 + (m[p->l4 + 12] >> 4) * 4u;
    }
}

static uint64_t summed(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    for (; n >= 4; p += 4, n -= 4)
        sum += ld32(p);
    if (n >= 2)
        sum += (uint32_t)(p[0] | p[1] << 8), p += 2, n -= 2;
    return n ? sum + *p : sum;
}

/* RFC 1071, as the two bytes stand in the header; the little endian sum needs its bytes exchanged. */
static uint16_t folded(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~(sum << 8 | sum >> 8);
}

static struct talk *talk_of(struct talk *talks, const uint8_t *m, const struct parse *p, int *way)
{
    uint8_t key[40] = {0};
    uint32_t size = p->version == 4 ? 4 : 16;
    const uint8_t *from = m + p->l3 + (p->version == 4 ? 12 : 8), *to = from + size;
    uint8_t a[18] = {0}, b[18] = {0};
    memcpy(a, from, size);
    memcpy(b, to, size);
    if (p->has_ports) {
        memcpy(a + 16, m + p->l4, 2);
        memcpy(b + 16, m + p->l4 + 2, 2);
    }
    *way = memcmp(a, b, 18) > 0;
    memcpy(key, *way ? b : a, 18);
    memcpy(key + 18, *way ? a : b, 18);
    key[36] = p->protocol;
    key[37] = p->version;
    struct talk *t = talks + (hashed(key, 40) & (TALKS - 1));
    if (memcmp(t->key, key, 40)) {
        memset(t, 0, sizeof *t);
        memcpy(t->key, key, 40);
    }
    return t;
}

/* Check sums of what robots and instruments speak: noise to every compressor, and said already by what they are sums of. */
static uint64_t crc64_of[256]; /* ECMA-182, as OpenIGTLink; both filled once when the module is loaded */
static uint16_t crc16_of[256]; /* CCITT, as IEEE C37.118 */

/* The sum in a message of `size` bytes: its place, its bytes (0: there is none) and what it should be. Looks at no byte of it. */
static uint32_t message_sum(const uint8_t *b, uint32_t size, uint32_t *place, uint64_t *right)
{
    if (size >= 58 && b[0] == 0 && b[1] >= 1 && b[1] <= 3 && be32(b + 42) == 0 && be32(b + 46) == size - 58) {
        uint64_t crc = 0; /* OpenIGTLink header: version, type, name, stamp, size of the body, sum of the body */
        for (uint32_t i = 58; i < size; i++)
            crc = crc64_of[crc >> 56 ^ b[i]] ^ crc << 8;
        *place = 50;
        *right = crc;
        return 8;
    }
    if (size >= 16 && b[0] == 0xaa && b[1] < 0x60 && be16(b + 2) == size) {
        uint16_t crc = 0xffff; /* IEEE C37.118.2: sync word, size, …, sum */
        for (uint32_t i = 0; i < size - 2; i++)
            crc = (uint16_t)(crc16_of[(crc >> 8 ^ b[i]) & 0xff] ^ crc << 8);
        *place = size - 2;
        *right = crc;
        return 2;
    }
    return 0;
}

/* Replace what can be predicted by its distance from the prediction, or (back) put it back. Its own inverse in both directions:
 * predictions use bytes that stay, bytes already put back, and what was said before. */
static void fields(struct talk *talks, uint8_t *m, uint32_t n, const struct parse *p, int back)
{
    if (!p->version)
        return;
    int way;
    struct talk *t = talk_of(talks, m, p, &way);
    struct side *me = &t->side[way], *other = &t->side[!way];
    uint8_t *ip = m + p->l3, *l4 = m + p->l4;
    uint32_t sign = back ? 1u : (uint32_t)-1;
    uint32_t length, actual;
#define SHIFT16(at, by) (actual = be16(at), length = actual + sign * (by), sb16(at, length), actual = back ? (uint16_t)length : actual)
#define SHIFT32(at, by) (actual = be32(at), length = actual + sign * (by), sb32(at, length), actual = back ? length : actual)
    uint8_t *l4_sum = NULL;
    uint16_t l4_right = 0, ip_right = 0;
    uint32_t total = 0;
    if (!back) {
        /* Sums are over the frame as it was. */
        total = p->version == 4 ? be16(ip + 2) : 40u + be16(ip + 4);
    } else {
        if (p->version == 4)
            SHIFT16(ip + 2, n - p->l3), total = actual;
        else
            SHIFT16(ip + 4, n - p->l3 - 40), total = 40u + actual;
        if (p->version == 4)
            SHIFT16(ip + 4, me->id), me->id = (uint16_t)actual;
    }
    uint32_t l4_bytes = total > p->l4 - p->l3 && total <= n - p->l3 ? total - (p->l4 - p->l3) : 0;
    for (int pass = 0; pass < 2; pass++) {
        /* Backwards the fields first, then the sums over them; forwards the sums first. */
        if (pass == back) {
            if (p->version == 4)
                ip_right = folded(summed(ip, p->l4 - p->l3) - (uint32_t)(ip[10] | ip[11] << 8));
            if (p->has_ports && l4_bytes >= p->size - p->l4) {
                l4_sum = l4 + (p->protocol == 6 ? 16 : 6);
                uint64_t sum = summed(l4, l4_bytes) - (uint32_t)(l4_sum[0] | l4_sum[1] << 8);
                sum += p->version == 4 ? summed(ip + 12, 8) : summed(ip + 8, 32);
                sum += (uint64_t)p->protocol << 8;
                sum += ((l4_bytes & 0xff) << 8) + (l4_bytes >> 8 & 0xff) + (l4_bytes >> 16);
                l4_right = folded(sum);
                if (p->protocol == 17)
                    l4_right = me->unsummed ? 0 : l4_right ? l4_right : 0xffff;
            }
            continue;
        }
        if (!back) {
            if (p->version == 4)
                SHIFT16(ip + 2, n - p->l3), SHIFT16(ip + 4, me->id), me->id = (uint16_t)actual;
            else
                SHIFT16(ip + 4, n - p->l3 - 40);
        }
        if (!p->has_ports)
            continue;
        if (l4_bytes > p->size - p->l4) {
            uint32_t place = 0;
            uint64_t right = 0;
            uint8_t *message = m + p->size;
            uint32_t bytes = message_sum(message, l4_bytes - (p->size - p->l4), &place, &right);
            for (uint32_t i = 0; i < bytes; i++)
                message[place + i] ^= (uint8_t)(right >> 8 * (bytes - 1 - i));
        }
        if (p->protocol == 17) {
            SHIFT16(l4 + 4, n - p->l4);
            continue;
        }
        uint32_t size = p->size - p->l4, said = l4_bytes >= size ? l4_bytes - size : n - p->size;
        SHIFT32(l4 + 4, me->next);
        me->next = actual + said + (l4[13] & 1) + (l4[13] >> 1 & 1);
        SHIFT32(l4 + 8, other->next);
        if (size >= 32 && ld32(l4 + 20) == 0x0a080101u) {
            SHIFT32(l4 + 24, me->stamp);
            me->stamp = actual;
            SHIFT32(l4 + 28, other->stamp);
        }
    }
    if (p->version == 4)
        SHIFT16(ip + 10, ip_right);
    if (l4_sum != NULL) {
        SHIFT16(l4_sum, l4_right);
        me->unsummed = actual == 0;
    }
#undef SHIFT16
#undef SHIFT32
}

/* ---- Rows and columns ------------------------------------------------------------------------------------------------------- */

/* at: of the frame in the blocks. flow_before, class_before: the row above in its tables; NONE in the first. */
struct frame { uint32_t at, size, head, class, flow_before, class_before, wire; uint64_t stamp; };
struct flow { uint32_t head, count, first, last, columns; };
struct class { uint32_t flow, size, count, first, last, columns; uint8_t time, tabled; uint32_t bucket_at; uint64_t stamp, period, gap, mean; };
struct column { uint32_t place, at; uint8_t mode, bucket; };

/* A table: `rows` above each other by `before`; base: bytes before its first column in a frame. */
#define ABOVE(f, is_head) ((is_head) ? (f)->flow_before : (f)->class_before)

/* The byte predicted for place j. above, above2: rows of the same table (NULL where none); left: the frame before, `left_size` of it. */
static inline uint8_t predicted(int mode, uint32_t j, uint32_t width, const uint8_t *row, const uint8_t *above, const uint8_t *above2,
                                const uint8_t *left, uint32_t left_size)
{
    switch (mode) {
    case DELTA:
        return above[j];
    case DELTA_LE: /* little endian number: borrow from the byte below it, on its left */
        return (uint8_t)(above[j] + (j > 0 && row[j - 1] < above[j - 1]));
    case DELTA_BE:
        return (uint8_t)(above[j] + (j + 1 < width && row[j + 1] < above[j + 1]));
    case BEFORE:
        return j < left_size ? left[j] : above[j];
    case DELTA2:
        return above2 != NULL ? (uint8_t)(2 * above[j] - above2[j]) : above[j];
    default:
        return 0;
    }
}

static inline int bit_length(uint64_t v) { return v ? 64 - __builtin_clzll(v) : 0; }
static inline uint64_t zigzag(uint64_t v) { return v << 1 ^ (uint64_t)((int64_t)v >> 63); }
static inline uint64_t unzigzag(uint64_t v) { return v >> 1 ^ (0 - (v & 1)); }

/* The expected stamp of the next frame of a class. before: the stamp of the frame before it. */
static inline uint64_t expected(const struct class *c, int time, uint64_t before)
{
    switch (time) {
    case TIME_GAP_MEAN: return before + (c->gap >> 4);
    case TIME_PERIOD: return c->stamp + c->period;
    case TIME_PERIOD_MEAN: return c->stamp + (c->mean >> 4);
    default: return before;
    }
}

static inline void timed(struct class *c, uint64_t stamp, uint64_t before, int is_first)
{
    uint64_t gap = stamp - before, period = stamp - c->stamp;
    /* Sixteenths; the mean follows by an eighth. */
    c->gap = is_first ? gap << 4 : c->gap + (uint64_t)((int64_t)((gap << 4) - c->gap) >> 3);
    if (!is_first) {
        c->mean = c->period == 0 && c->mean == 0 ? period << 4 : c->mean + (uint64_t)((int64_t)((period << 4) - c->mean) >> 3);
        c->period = period;
    }
    c->stamp = stamp;
}

/* What comes after the last two classes, as it did last time. */
struct guess { uint32_t *pair, *one, a, b; };

static inline uint32_t *pair_of(struct guess *g) { return g->pair + ((g->a * 0x9E3779B1u ^ g->b * 0x85EBCA6Bu) >> 16); }

static inline void guessed(struct guess *g, uint32_t class)
{
    *pair_of(g) = class;
    g->one[g->b & 0xffff] = class;
    g->a = g->b;
    g->b = class;
}

/* ---- Apart ------------------------------------------------------------------------------------------------------------------ */

static float bits_of[SAMPLE * 16 + 512]; /* binary logarithms; filled once when the module is loaded */

struct split {
    const uint8_t *raw;
    size_t size;
    uint8_t *turned; /* frames after `fields`, at the same places */
    struct frame *frames;
    uint32_t frame_count, flow_count, class_count, flow_room, class_room;
    struct flow *flows;
    struct class *classes;
    uint32_t *flow_slots, *class_slots, slot_mask;
    uint32_t *rows; /* frame numbers of the table in hand */
    uint8_t *residual;
    struct talk *talks;
    struct guess guess;
    struct out out[STREAMS];
    uint64_t unit;
    uint32_t key_count;
    int failed;
};

static int epb_of(const uint8_t *b, size_t size, size_t at, uint32_t *block)
{
    if (size - at < 12)
        return -1;
    uint32_t whole = ld32(b + at + 4);
    if (whole < 12 || whole % 4 || whole > size - at || ld32(b + at + whole - 4) != whole)
        return -1;
    *block = whole;
    if (ld32(b + at) != 6 || whole < 32 || ld32(b + at + 8) != 0)
        return 0;
    uint32_t captured = ld32(b + at + 20);
    if (captured > SNAP_MAX || whole != 32 + ((captured + 3) & ~3u))
        return 0;
    for (uint32_t i = captured; i < ((captured + 3) & ~3u); i++)
        if (b[at + 28 + i])
            return 0;
    return 1;
}

/* What makes a flow: all of the header that does not change from frame to frame, as far as we know protocols. */
static uint32_t flow_key(const uint8_t *m, uint32_t n, const struct parse *p, uint8_t *key)
{
    uint32_t k = 0;
    memcpy(key, &p->size, 4);
    k = 4;
    uint32_t l2 = p->l3 ? p->l3 : n;
    memcpy(key + k, m, l2 < 32 ? l2 : 32);
    k += l2 < 32 ? l2 : 32;
    if (p->version == 4) {
        key[k++] = m[p->l3 + 9];
        memcpy(key + k, m + p->l3 + 12, 8);
        k += 8;
    } else if (p->version == 6) {
        key[k++] = m[p->l3 + 6];
        memcpy(key + k, m + p->l3 + 8, 32);
        k += 32;
    } else if (p->l3) {
        /* The first bytes of what we do not know tell its kinds apart: PTP's type, Profinet's frame identifier. EtherCAT's command
         * and address come around its running number. */
        uint32_t at = p->l3, some = n - at < 2 ? n - at : 2;
        if (be16(m + at - 2) == 0x88a4 && n >= at + 8) {
            memcpy(key + k, m + at, 3);
            memcpy(key + k + 3, m + at + 4, 4);
            k += 7;
        } else {
            memcpy(key + k, m + at, some);
            k += some;
        }
    }
    if (p->has_ports) {
        memcpy(key + k, m + p->l4, 4);
        k += 4;
    }
    return k;
}

/* Grows by doubling; s->failed when there is no memory. */
static void *grown(struct split *s, void *p, uint32_t count, uint32_t *room, size_t each)
{
    if (count < *room)
        return p;
    uint32_t more = *room * 2 + 64;
    void *q = realloc(p, more * each);
    if (q == NULL) {
        s->failed = 1;
        return p;
    }
    *room = more;
    return q;
}

static void note_frame(struct split *s, uint32_t number, const uint8_t *m, const struct parse *p, uint8_t (*keys)[80])
{
    struct frame *f = s->frames + number;
    uint8_t key[80] = {0};
    uint32_t size = flow_key(m, f->size, p, key);
    (void)size;
    uint32_t at = hashed(key, sizeof key) & s->slot_mask, flow;
    for (uint32_t looks = 0; (flow = s->flow_slots[at]) != NONE && memcmp(keys[flow], key, sizeof key); looks++) {
        if (looks == LOOKS_MAX) {
            flow = NONE; /* somebody makes addresses collide: one is forgotten and met anew */
            break;
        }
        at = (at + 1) & s->slot_mask;
    }
    if (flow == NONE) {
        s->flows = grown(s, s->flows, s->flow_count, &s->flow_room, sizeof *s->flows);
        if (s->failed)
            return;
        flow = s->flow_slots[at] = s->flow_count++;
        memcpy(keys[flow], key, sizeof key);
        s->flows[flow] = (struct flow){.head = p->size, .first = number, .last = NONE};
    }
    f->head = p->size;
    f->flow_before = s->flows[flow].last;
    s->flows[flow].last = number;
    s->flows[flow].count++;
    uint32_t rest = f->size - f->head;
    uint32_t which[2] = {flow, rest}, class;
    at = hashed((uint8_t *)which, 8) & s->slot_mask;
    for (uint32_t looks = 0; (class = s->class_slots[at]) != NONE && (s->classes[class].flow != flow || s->classes[class].size != rest);
         looks++) {
        if (looks == LOOKS_MAX) {
            class = NONE;
            break;
        }
        at = (at + 1) & s->slot_mask;
    }
    if (class == NONE) {
        s->classes = grown(s, s->classes, s->class_count, &s->class_room, sizeof *s->classes);
        if (s->failed)
            return;
        class = s->class_slots[at] = s->class_count++;
        s->classes[class] = (struct class){.flow = flow, .size = rest, .first = number, .last = NONE};
    }
    f->class = class;
    f->class_before = s->classes[class].last;
    s->classes[class].last = number;
    s->classes[class].count++;
}

static inline double symbol_cost(uint32_t *seen, uint32_t total, uint8_t symbol)
{
    /* An adaptive coder that starts with a sixteenth of a sight of every byte. */
    return bits_of[16 * total + 256] - bits_of[16 * seen[symbol]++ + 1];
}

/* The bytes of one frame in a table. */
static inline const uint8_t *row_of(const struct split *s, uint32_t number, int is_head)
{
    const struct frame *f = s->frames + number;
    return s->turned + f->at + (is_head ? 0 : f->head);
}

static inline uint8_t residue(const struct split *s, uint32_t number, int is_head, int mode, uint32_t j, uint32_t width)
{
    const struct frame *f = s->frames + number, *before = f - 1;
    uint32_t up = ABOVE(f, is_head), up2 = ABOVE(s->frames + up, is_head);
    const uint8_t *row = row_of(s, number, is_head);
    return (uint8_t)(row[j] - predicted(mode, j, width, row, row_of(s, up, is_head), up2 == NONE ? NULL : row_of(s, up2, is_head),
                                        row_of(s, number - 1, is_head), is_head ? before->head : before->size - before->head));
}

static uint8_t bucket_of(double each)
{
    static const double limits[BUCKETS - 1] = {0.15, 0.6, 1.5, 3.0, 5.0, 7.0};
    uint8_t b = 0;
    while (b < BUCKETS - 1 && each > limits[b])
        b++;
    return b;
}

/* The mode of one column, and what it will cost in bits for all rows. rows: frame numbers, the first row left out. */
static double choose(const struct split *s, int is_head, uint32_t j, uint32_t width, uint32_t count, int left_mode, uint8_t *mode, uint8_t *bucket)
{
    uint32_t sample = count < SAMPLE ? count : SAMPLE, differing = 0;
    uint8_t first = row_of(s, is_head ? s->frames[s->rows[0]].flow_before : s->frames[s->rows[0]].class_before, is_head)[j];
    for (uint32_t i = 0; i < count && !differing; i++)
        differing = row_of(s, s->rows[i], is_head)[j] != first;
    *mode = CONSTANT;
    *bucket = 0;
    if (!differing)
        return 0;
    double best = 1e300;
    for (int m = PLAIN; m < MODE_COUNT; m++) {
        if ((m == DELTA_LE && (j == 0 || left_mode == DELTA_BE)) || (m == DELTA_BE && j + 1 == width))
            continue;
        uint32_t seen[256] = {0};
        double cost = 0;
        for (uint32_t i = 0; i < sample && cost < best; i++)
            cost += symbol_cost(seen, i, residue(s, s->rows[i], is_head, m, j, width));
        if (cost < best)
            best = cost, *mode = (uint8_t)m;
    }
    *bucket = bucket_of(best / sample);
    return best * count / sample;
}

/* What an LZ compressor would make of the rows one after the other, in bits, from a sample. */
static double bulk_cost(const struct split *s, uint32_t width, uint32_t count)
{
    static const uint32_t most = 32768;
    uint32_t seen[256] = {0}, rows = most / (width + 1) + 2, total = 0, last[4096];
    if (rows > count)
        rows = count;
    const uint8_t *at[4096];
    memset(last, 0, sizeof last);
    memset(at, 0, sizeof at);
    double cost = 0;
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *row = row_of(s, s->rows[r], 0);
        for (uint32_t j = 0; j < width;) {
            if (width - j >= 5) {
                uint32_t slot = (ld32(row + j) * 2654435761u + row[j + 4] * 40503u) >> 20;
                const uint8_t *known = at[slot];
                uint32_t room = last[slot], length = 0;
                at[slot] = row + j;
                last[slot] = width - j;
                if (known != NULL) {
                    uint32_t limit = width - j < room ? width - j : room;
                    while (length < limit && known[length] == row[j + length])
                        length++;
                }
                if (length >= 5) {
                    cost += 22;
                    j += length;
                    continue;
                }
            }
            if (total + 1 < SAMPLE)
                cost += symbol_cost(seen, total++, row[j]);
            else
                cost += bits_of[16 * total + 256] - bits_of[16 * seen[row[j]] + 1];
            j++;
        }
    }
    return cost * count / rows;
}

static void put_column(struct split *s, int is_head, uint32_t j, uint32_t width, uint32_t count, uint8_t mode, uint8_t bucket)
{
    uint8_t *to = reserve(&s->out[BUCKET + bucket], count);
    if (to != NULL)
        for (uint32_t i = 0; i < count; i++)
            to[i] = residue(s, s->rows[i], is_head, mode, j, width);
}

/* Rows of a table below the first, in order; how many. */
static uint32_t rows_of(struct split *s, uint32_t last, int is_head)
{
    uint32_t count = 0;
    for (uint32_t n = last; ABOVE(s->frames + n, is_head) != NONE; n = ABOVE(s->frames + n, is_head))
        s->rows[count++] = n;
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t n = s->rows[i];
        s->rows[i] = s->rows[count - 1 - i];
        s->rows[count - 1 - i] = n;
    }
    return count;
}

static void put_table(struct split *s, int is_head, uint32_t width, uint32_t count, const uint8_t *modes)
{
    for (uint32_t j = 0; j < width; j++) {
        put1(&s->out[MODES], modes[j]);
        if (modes[j] & 15)
            put_column(s, is_head, j, width, count, modes[j] & 15, modes[j] >> 4);
    }
}

static double plan_table(struct split *s, int is_head, uint32_t width, uint32_t count, uint8_t *modes, double limit)
{
    double cost = 0;
    for (uint32_t j = 0; j < width && cost <= limit; j++) {
        uint8_t mode, bucket;
        cost += choose(s, is_head, j, width, count, j ? modes[j - 1] & 15 : CONSTANT, &mode, &bucket) + (mode == CONSTANT ? 0.1 : 6);
        modes[j] = (uint8_t)(mode | bucket << 4);
    }
    return cost;
}

/* Whether all of a dozen columns are noise whatever they are compared with: video, and what is encrypted. No table helps then, and to
 * find that out column by column was two thirds of the work on a stereo endoscope's stream (0.20 s for a run of 4 MiB, now 0.01). */
static int is_noise(const struct split *s, uint32_t width, uint32_t count)
{
    if (width < NOISE_WIDTH_MIN)
        return 0;
    for (uint32_t i = 0; i < NOISE_PROBES; i++) {
        uint8_t mode, bucket;
        uint32_t j = (uint32_t)((uint64_t)width * (2 * i + 1) / (2 * NOISE_PROBES));
        if (choose(s, 0, j, width, count, CONSTANT, &mode, &bucket) < NOISE_BITS * count)
            return 0;
    }
    return 1;
}

static double stamp_cost(const struct class *c, int time, uint64_t stamp, uint64_t before)
{
    int n = bit_length(zigzag(stamp - expected(c, time, before)));
    return n + 2;
}

static void choose_time(struct split *s, struct class *c)
{
    double cost[TIME_COUNT] = {0};
    struct class trial = *c;
    uint32_t n = c->first;
    uint32_t count = rows_of(s, c->last, 0);
    timed(&trial, s->frames[n].stamp, n ? s->frames[n - 1].stamp : 0, 1);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t stamp = s->frames[s->rows[i]].stamp, before = s->frames[s->rows[i] - 1].stamp;
        for (int t = 0; t < TIME_COUNT; t++)
            cost[t] += stamp_cost(&trial, t, stamp, before);
        timed(&trial, stamp, before, 0);
    }
    c->time = 0;
    for (int t = 1; t < TIME_COUNT; t++)
        if (cost[t] < cost[c->time])
            c->time = (uint8_t)t;
}

/* A number as one byte for its size and leading bits, which a compressor sees, and the rest, which is noise. */
static uint8_t put_split(struct out *noise, struct bits *bits, uint64_t v)
{
    int n = bit_length(v);
    if (n <= 4)
        return (uint8_t)v;
    put_bits(noise, bits, v & ((1ull << (n - 3)) - 1), n - 3);
    return (uint8_t)(16 + (n - 5) * 4 + (v >> (n - 3) & 3));
}

static uint64_t get_split(uint8_t symbol, struct in *noise, struct bits *bits)
{
    if (symbol < 16)
        return symbol;
    int n = 5 + (symbol - 16) / 4;
    return (4ull | ((symbol - 16) & 3)) << (n - 3) | get_bits(noise, bits, n - 3);
}

static void put_shape(struct split *s, const struct frame *f)
{
    struct guess *g = &s->guess;
    if (f->class_before == NONE) {
        put1(&s->out[SHAPE], FRESH); /* classes are numbered as they come */
    } else if (*pair_of(g) == f->class) {
        put1(&s->out[SHAPE], SAME2);
    } else if (g->one[g->b & 0xffff] == f->class) {
        put1(&s->out[SHAPE], SAME1);
    } else {
        put1(&s->out[SHAPE], KNOWN);
        put_number(&s->out[IDS], f->class);
    }
    guessed(g, f->class);
}

static void walk_blocks(struct split *s)
{
    size_t at = 0;
    uint32_t most = (uint32_t)(s->size / 32) + 1;
    s->frames = malloc(most * sizeof *s->frames);
    s->turned = malloc(s->size + 1);
    uint32_t slots = 1024;
    while (slots < 2 * most)
        slots *= 2;
    s->slot_mask = slots - 1;
    s->flow_slots = malloc(slots * 4);
    s->class_slots = malloc(slots * 4);
    s->rows = malloc((most + 1) * 4);
    s->talks = calloc(TALKS, sizeof *s->talks);
    s->guess.pair = malloc(PAIRS * 4);
    s->guess.one = malloc(PAIRS * 4);
    uint8_t(*keys)[80] = NULL;
    uint32_t key_room = 0;
    if (!s->frames || !s->turned || !s->flow_slots || !s->class_slots || !s->rows || !s->talks || !s->guess.pair || !s->guess.one) {
        s->failed = 1;
        return;
    }
    memset(s->flow_slots, 0xff, slots * 4);
    memset(s->class_slots, 0xff, slots * 4);
    memset(s->guess.pair, 0, PAIRS * 4);
    memset(s->guess.one, 0, PAIRS * 4);
    s->unit = 1000;
    while (at < s->size && !s->failed) {
        uint32_t block = 0;
        int kind = epb_of(s->raw, s->size, at, &block);
        if (kind < 0)
            break;
        if (kind > 0) {
            struct frame *f = s->frames + s->frame_count;
            f->at = (uint32_t)at + 28;
            f->size = ld32(s->raw + at + 20);
            f->wire = ld32(s->raw + at + 24);
            f->stamp = (uint64_t)ld32(s->raw + at + 12) << 32 | ld32(s->raw + at + 16);
            if (f->stamp % 1000)
                s->unit = 1;
            struct parse p;
            uint8_t *m = s->turned + f->at;
            memcpy(m, s->raw + f->at, f->size);
            parsed(m, f->size, &p);
            keys = grown(s, keys, s->flow_count, &key_room, sizeof *keys);
            if (!s->failed)
                note_frame(s, s->frame_count, m, &p, keys);
            fields(s->talks, m, f->size, &p, 0);
            s->frame_count++;
        }
        at += block;
    }
    free(keys);
    for (uint32_t i = 0; i < s->frame_count; i++)
        s->frames[i].stamp /= s->unit;
}

/* How many bytes of the first `width` of two payloads differ. */
static uint32_t unlike(const uint8_t *a, const uint8_t *b, uint32_t width)
{
    uint32_t count = 0;
    for (uint32_t j = 0; j < width; j++)
        count += a[j] != b[j];
    return count;
}

/* Bytes that differ from the row before with the same byte at `place`, in all sampled rows; of all rows together when place is NONE.
 * kind: a number for who is told apart from whom, so that no division is tried twice. */
static uint32_t divided(const struct split *s, uint32_t sample, uint32_t width, uint32_t place, uint32_t *kind)
{
    const uint8_t *last[256] = {NULL};
    uint8_t names[256] = {0}, known = 0;
    uint32_t count = 0;
    *kind = 0;
    for (uint32_t i = 0; i < sample; i++) {
        const uint8_t *row = row_of(s, s->rows[i], 0);
        uint8_t value = place == NONE ? 0 : row[place];
        if (last[value] != NULL)
            count += unlike(row, last[value], width);
        else
            names[value] = ++known;
        last[value] = row;
        *kind = (*kind ^ names[value]) * 0x9E3779B1u;
    }
    return count;
}

/* Messages of one flow and length are often of some kinds that come by turns (one for each tool, register, writer): a byte that tells
 * them apart makes a class of each. Such classes go to the end of the list and are looked at in their turn. */
static void divide(struct split *s, uint32_t number)
{
    struct class *c = s->classes + number;
    if (c->count < DIVIDE_MIN || c->size < 4)
        return;
    uint32_t count = rows_of(s, c->last, 0), width = c->size < DIVIDE_WIDTH ? c->size : DIVIDE_WIDTH;
    uint32_t sample = count < DIVIDE_SAMPLE ? count : DIVIDE_SAMPLE, kind, tried[DIVIDE_TRIES], tries = 0, place = NONE;
    uint32_t whole = divided(s, sample, width, NONE, &kind), best = whole - whole / 8;
    for (uint32_t j = 0; j < width && tries < DIVIDE_TRIES; j++) {
        uint64_t seen[4] = {0};
        uint32_t values = 0;
        for (uint32_t i = 0; i < sample && values <= 16; i++) {
            uint8_t v = row_of(s, s->rows[i], 0)[j];
            values += !(seen[v >> 6] >> (v & 63) & 1);
            seen[v >> 6] |= 1ull << (v & 63);
        }
        if (values < 2 || values > 16 || values > sample / 8)
            continue;
        uint32_t unlikes = divided(s, sample, width, j, &kind), old = 0;
        while (old < tries && tried[old] != kind)
            old++;
        if (old < tries)
            continue;
        tried[tries++] = kind;
        /* Who is next must be said, too: half a byte a row is what it may cost. */
        if (unlikes + sample / 2 < best)
            best = unlikes + sample / 2, place = j;
    }
    if (place == NONE)
        return;
    uint32_t of[256], first = c->first, flow = c->flow, size = c->size;
    memset(of, 0xff, sizeof of);
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t n = i ? s->rows[i - 1] : first;
        uint8_t value = row_of(s, n, 0)[place];
        if (of[value] == NONE) {
            if (i == 0) {
                of[value] = number;
            } else {
                s->classes = grown(s, s->classes, s->class_count, &s->class_room, sizeof *s->classes);
                if (s->failed)
                    return;
                of[value] = s->class_count++;
            }
            s->classes[of[value]] = (struct class){.flow = flow, .size = size, .first = n, .last = NONE};
        }
        struct class *to = s->classes + of[value];
        s->frames[n].class = of[value];
        s->frames[n].class_before = to->last;
        to->last = n;
        to->count++;
    }
}

/* Divide what is worth it, and number the classes as they come. */
static void divide_all(struct split *s)
{
    for (uint32_t i = 0; i < s->class_count && !s->failed; i++)
        divide(s, i);
    struct class *sorted = malloc((s->class_count + 1) * sizeof *sorted);
    uint32_t *numbers = malloc((s->class_count + 1) * 4), known = 0;
    if (sorted != NULL && numbers != NULL && !s->failed) {
        for (uint32_t n = 0; n < s->frame_count; n++) {
            struct frame *f = s->frames + n;
            if (f->class_before == NONE) {
                numbers[f->class] = known;
                sorted[known++] = s->classes[f->class];
            }
            f->class = numbers[f->class];
        }
        free(s->classes);
        s->classes = sorted;
        s->class_room = s->class_count + 1;
        sorted = NULL;
    } else {
        s->failed = 1;
    }
    free(sorted);
    free(numbers);
}

/* The sequence of blocks: which class each frame is of, and what is carried as it is. */
static void put_shapes(struct split *s)
{
    uint32_t number = 0, block = 0;
    for (size_t at = 0; at < s->size; at += block) {
        int kind = epb_of(s->raw, s->size, at, &block);
        if (kind > 0) {
            put_shape(s, s->frames + number++);
            continue;
        }
        if (kind < 0)
            block = (uint32_t)(s->size - at); /* no block: all the rest */
        put1(&s->out[SHAPE], VERBATIM);
        put_number(&s->out[IDS], block);
        put(&s->out[OTHER], s->raw + at, block);
    }
}

static void put_tables(struct split *s)
{
    struct out *head = &s->out[HEAD];
    uint32_t widest = 0;
    for (uint32_t i = 0; i < s->flow_count; i++)
        widest = s->flows[i].head > widest ? s->flows[i].head : widest;
    for (uint32_t i = 0; i < s->class_count; i++)
        widest = s->classes[i].size > widest ? s->classes[i].size : widest;
    uint8_t *modes = malloc((size_t)widest + 1);
    if (modes == NULL) {
        s->failed = 1;
        return;
    }
    put_number(head, s->size);
    put_number(head, s->unit);
    put_number(head, s->flow_count);
    for (uint32_t i = 0; i < s->flow_count; i++)
        put_number(head, s->flows[i].head);
    put_number(head, s->class_count);
    for (uint32_t i = 0; i < s->class_count; i++) {
        struct class *c = s->classes + i;
        choose_time(s, c);
        uint32_t count = c->count - 1;
        c->tabled = 0;
        if (c->count >= ROWS_MIN && c->size) {
            rows_of(s, c->last, 0);
            if (!is_noise(s, c->size, count)) {
                double limit = bulk_cost(s, c->size, count);
                c->tabled = plan_table(s, 0, c->size, count, modes, limit) < limit;
            }
        }
        put_number(head, c->flow);
        put_number(head, c->size);
        put_number(head, c->count);
        put1(head, (uint8_t)(c->time | c->tabled << 4));
        if (c->tabled)
            put_table(s, 0, c->size, count, modes);
    }
    for (uint32_t i = 0; i < s->flow_count; i++) {
        struct flow *f = s->flows + i;
        if (f->count < 2)
            continue;
        uint32_t count = rows_of(s, f->last, 1);
        plan_table(s, 1, f->head, count, modes, 1e300);
        put_table(s, 1, f->head, count, modes);
    }
    free(modes);
}


/* What is said frame by frame: first rows, payloads no table helps, stamps, lengths before snapping. */
static void put_rows(struct split *s)
{
    struct bits bits = {0, 0};
    uint8_t *times = reserve(&s->out[TIMES], s->frame_count);
    uint32_t at = 0;
    if (times == NULL)
        return;
    for (uint32_t i = 0; i < s->class_count; i++) {
        s->classes[i].bucket_at = at;
        at += s->classes[i].count;
    }
    for (uint32_t n = 0; n < s->frame_count; n++) {
        struct frame *f = s->frames + n;
        struct class *c = s->classes + f->class;
        int is_first = f->class_before == NONE;
        const uint8_t *m = s->turned + f->at;
        if (f->flow_before == NONE)
            put(&s->out[FIRST], m, f->head);
        if (!c->tabled)
            put(&s->out[BULK], m + f->head, f->size - f->head);
        else if (is_first)
            put(&s->out[FIRST], m + f->head, f->size - f->head);
        uint64_t before = n ? f[-1].stamp : 0;
        uint64_t off = zigzag(f->stamp - (is_first ? before : expected(c, c->time, before)));
        times[c->bucket_at++] = put_split(&s->out[BITS], &bits, off);
        timed(c, f->stamp, before, is_first);
        put_number(&s->out[WIRE], zigzag((uint64_t)f->wire - f->size));
    }
    if (bits.count)
        put1(&s->out[BITS], (uint8_t)bits.word);
}

static void split_free(struct split *s)
{
    free(s->turned);
    free(s->frames);
    free(s->flows);
    free(s->classes);
    free(s->flow_slots);
    free(s->class_slots);
    free(s->rows);
    free(s->talks);
    free(s->guess.pair);
    free(s->guess.one);
    for (uint32_t i = 0; i < STREAMS; i++)
        free(s->out[i].p);
}

static PyObject *split(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw;
    if (!PyArg_ParseTuple(args, "y*", &raw))
        return NULL;
    if (raw.len > (Py_ssize_t)RAW_MAX) {
        PyBuffer_Release(&raw);
        PyErr_Format(PyExc_ValueError, "expected at most %u bytes", RAW_MAX);
        return NULL;
    }
    struct split s = {.raw = raw.buf, .size = (size_t)raw.len};
    Py_BEGIN_ALLOW_THREADS
    walk_blocks(&s);
    if (!s.failed)
        divide_all(&s);
    if (!s.failed)
        put_shapes(&s);
    if (!s.failed)
        put_tables(&s);
    if (!s.failed)
        put_rows(&s);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&raw);
    PyObject *streams = NULL;
    for (uint32_t i = 0; i < STREAMS; i++)
        s.failed |= s.out[i].failed;
    if (s.failed)
        PyErr_NoMemory();
    else if ((streams = PyTuple_New(STREAMS)) != NULL) {
        for (uint32_t i = 0; i < STREAMS; i++) {
            PyObject *stream = PyBytes_FromStringAndSize((char *)s.out[i].p, (Py_ssize_t)s.out[i].n);
            if (stream == NULL) {
                Py_CLEAR(streams);
                break;
            }
            PyTuple_SET_ITEM(streams, i, stream);
        }
    }
    split_free(&s);
    return streams;
}

/* ---- Together --------------------------------------------------------------------------------------------------------------- */

struct table { uint32_t width, count, seen, first_column, column_count, last, last2; };
struct kind { struct table table; struct class class; };

struct join {
    struct in in[STREAMS];
    uint8_t *raw, *turned;
    size_t size;
    struct table *flows;
    struct kind *kinds;
    struct column *columns;
    uint32_t flow_count, kind_count, column_count, column_room;
    uint64_t unit;
    size_t bucket_at[BUCKETS];
    struct talk *talks;
    struct guess guess;
    int no_memory;
};

/* The modes of a table; 0 when they make no sense. */
static int get_table(struct join *s, struct table *t)
{
    struct in *modes = &s->in[MODES];
    t->first_column = s->column_count;
    if (modes->n - modes->at < t->width)
        return 0;
    int left = CONSTANT;
    uint32_t rows = t->count - 1;
    for (uint32_t j = 0; j < t->width; j++) {
        uint8_t byte = get1(modes), mode = byte & 15, bucket = byte >> 4;
        if (mode >= MODE_COUNT || bucket >= BUCKETS)
            return 0;
        if ((mode == DELTA_LE && (j == 0 || left == DELTA_BE)) || (mode == DELTA_BE && j + 1 == t->width))
            return 0;
        left = mode;
        if (mode == CONSTANT || rows == 0)
            continue;
        if (s->column_count == s->column_room) {
            uint32_t room = s->column_room * 2 + 256;
            struct column *more = realloc(s->columns, room * sizeof *more);
            if (more == NULL) {
                s->no_memory = 1;
                return 0;
            }
            s->columns = more;
            s->column_room = room;
        }
        if (s->in[BUCKET + bucket].n - s->bucket_at[bucket] < rows)
            return 0;
        s->columns[s->column_count++] = (struct column){j, (uint32_t)s->bucket_at[bucket], mode, bucket};
        s->bucket_at[bucket] += rows;
    }
    t->column_count = s->column_count - t->first_column;
    return 1;
}

static int get_tables(struct join *s)
{
    struct in *head = &s->in[HEAD];
    uint64_t most = s->size / 32 + 1;
    if (get_number(head) != s->size)
        return 0;
    s->unit = get_number(head);
    uint64_t flows = get_number(head);
    if (head->failed || (s->unit != 1 && s->unit != 1000) || flows > most || flows > head->n)
        return 0;
    s->flows = calloc(flows + 1, sizeof *s->flows);
    s->talks = calloc(TALKS, sizeof *s->talks);
    s->guess.pair = malloc(PAIRS * 4);
    s->guess.one = malloc(PAIRS * 4);
    if (!s->flows || !s->talks || !s->guess.pair || !s->guess.one) {
        s->no_memory = 1;
        return 0;
    }
    s->flow_count = (uint32_t)flows;
    for (uint32_t i = 0; i < s->flow_count; i++) {
        uint64_t width = get_number(head);
        if (head->failed || width > SNAP_MAX)
            return 0;
        s->flows[i].width = (uint32_t)width;
        s->flows[i].last = s->flows[i].last2 = NONE;
    }
    uint64_t kinds = get_number(head), frames = 0, room = s->size; /* for frames of the kinds that follow: columns are bounded by it */
    if (head->failed || kinds > most || kinds > head->n)
        return 0;
    s->kinds = calloc(kinds + 1, sizeof *s->kinds);
    if (s->kinds == NULL) {
        s->no_memory = 1;
        return 0;
    }
    s->kind_count = (uint32_t)kinds;
    for (uint32_t i = 0; i < s->kind_count; i++) {
        struct kind *k = s->kinds + i;
        uint64_t flow = get_number(head), size = get_number(head), count = get_number(head);
        uint8_t how = get1(head);
        if (head->failed || flow >= flows || size > SNAP_MAX || size + s->flows[flow].width > SNAP_MAX)
            return 0;
        uint64_t block = 32 + ((s->flows[flow].width + size + 3) & ~3ull);
        if (count == 0 || count > room / block)
            return 0;
        room -= count * block;
        k->class = (struct class){.flow = (uint32_t)flow, .size = (uint32_t)size, .count = (uint32_t)count, .time = how & 15, .tabled = how >> 4,
                                  .bucket_at = (uint32_t)frames};
        k->table = (struct table){.width = (uint32_t)size, .count = (uint32_t)count, .last = NONE, .last2 = NONE};
        if (k->class.time >= TIME_COUNT || k->class.tabled > 1)
            return 0;
        s->flows[flow].count += (uint32_t)count;
        frames += count;
        if (k->class.tabled && !get_table(s, &k->table))
            return 0;
    }
    if (frames > s->in[TIMES].n)
        return 0;
    for (uint32_t i = 0; i < s->flow_count; i++)
        if (s->flows[i].count >= 2 && !get_table(s, s->flows + i))
            return 0;
    return 1;
}

/* One row put at `row`: places in the frames before are as in the blocks. */
static int get_row(struct join *s, struct table *t, uint8_t *row, uint32_t at, const uint8_t *left, uint32_t left_size)
{
    if (t->seen >= t->count)
        return 0;
    if (t->last == NONE) {
        const uint8_t *first = get(&s->in[FIRST], t->width);
        if (first == NULL)
            return 0;
        memcpy(row, first, t->width);
    } else {
        const uint8_t *above = s->turned + t->last, *above2 = t->last2 == NONE ? NULL : s->turned + t->last2;
        memcpy(row, above, t->width);
        const struct column *c = s->columns + t->first_column;
        uint32_t index = t->seen - 1;
        for (uint32_t i = 0; i < t->column_count; i++)
            if (c[i].mode != DELTA_BE)
                row[c[i].place] = (uint8_t)(s->in[BUCKET + c[i].bucket].p[c[i].at + index] +
                                            predicted(c[i].mode, c[i].place, t->width, row, above, above2, left, left_size));
        for (uint32_t i = t->column_count; i-- > 0;)
            if (c[i].mode == DELTA_BE)
                row[c[i].place] = (uint8_t)(s->in[BUCKET + c[i].bucket].p[c[i].at + index] +
                                            predicted(DELTA_BE, c[i].place, t->width, row, above, above2, left, left_size));
    }
    t->seen++;
    t->last2 = t->last;
    t->last = at;
    return 1;
}

static int joined(struct join *s)
{
    if (!get_tables(s))
        return 0;
    struct bits bits = {0, 0};
    struct in *shape = &s->in[SHAPE], *ids = &s->in[IDS];
    memset(s->guess.pair, 0, PAIRS * 4);
    memset(s->guess.one, 0, PAIRS * 4);
    uint32_t known = 0, left_at = 0, left_head = 0, left_size = 0;
    uint64_t before = 0;
    for (size_t at = 0; at < s->size;) {
        uint8_t what = get1(shape);
        uint64_t number = what == KNOWN || what == VERBATIM ? get_number(ids) : 0;
        if (shape->failed || ids->failed || what > VERBATIM)
            return 0;
        if (what == VERBATIM) {
            const uint8_t *bytes = number == 0 || number > s->size - at ? NULL : get(&s->in[OTHER], number);
            if (bytes == NULL)
                return 0;
            memcpy(s->raw + at, bytes, number);
            at += number;
            continue;
        }
        if (what == SAME2)
            number = *pair_of(&s->guess);
        else if (what == SAME1)
            number = s->guess.one[s->guess.b & 0xffff];
        else if (what == FRESH)
            number = known++;
        if (number >= s->kind_count || number >= known)
            return 0;
        guessed(&s->guess, (uint32_t)number);
        struct kind *k = s->kinds + number;
        struct table *flow = s->flows + k->class.flow;
        uint32_t head = flow->width, size = head + k->class.size, block = 32 + ((size + 3) & ~3u), start = (uint32_t)at + 28;
        if (block > s->size - at)
            return 0;
        uint8_t *m = s->turned + start;
        int is_first = k->table.seen == 0;
        uint32_t index = k->table.seen;
        if (!get_row(s, flow, m, start, s->turned + left_at, left_head))
            return 0;
        if (k->class.tabled) {
            if (!get_row(s, &k->table, m + head, start + head, s->turned + left_at + left_head, left_size - left_head))
                return 0;
        } else {
            const uint8_t *bytes = get(&s->in[BULK], k->class.size);
            if (bytes == NULL || k->table.seen++ >= k->table.count)
                return 0;
            memcpy(m + head, bytes, k->class.size);
        }
        left_at = start;
        left_head = head;
        left_size = size;
        uint64_t off = get_split(s->in[TIMES].p[k->class.bucket_at + index], &s->in[BITS], &bits);
        uint64_t stamp = (is_first ? before : expected(&k->class, k->class.time, before)) + unzigzag(off);
        timed(&k->class, stamp, before, is_first);
        before = stamp;
        uint64_t wire = size + unzigzag(get_number(&s->in[WIRE]));
        if (s->in[BITS].failed || s->in[WIRE].failed)
            return 0;
        stamp *= s->unit;
        uint8_t *to = s->raw + at;
        st32(to, 6);
        st32(to + 4, block);
        st32(to + 8, 0);
        st32(to + 12, (uint32_t)(stamp >> 32));
        st32(to + 16, (uint32_t)stamp);
        st32(to + 20, size);
        st32(to + 24, (uint32_t)wire);
        memcpy(to + 28, m, size);
        memset(to + 28 + size, 0, block - 32 - size);
        st32(to + block - 4, block);
        struct parse p;
        parsed(to + 28, size, &p);
        fields(s->talks, to + 28, size, &p, 1);
        at += block;
    }
    return 1;
}

static PyObject *join(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *given;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O!n", &PyTuple_Type, &given, &size))
        return NULL;
    if (size < 0 || size > (Py_ssize_t)RAW_MAX || PyTuple_GET_SIZE(given) != STREAMS) {
        PyErr_Format(PyExc_ValueError, "expected %u streams of at most %u bytes together", STREAMS, RAW_MAX);
        return NULL;
    }
    struct join s = {.size = (size_t)size};
    for (uint32_t i = 0; i < STREAMS; i++) {
        PyObject *stream = PyTuple_GET_ITEM(given, i); /* the tuple holds it, the caller holds the tuple */
        if (!PyBytes_Check(stream) || PyBytes_GET_SIZE(stream) > (Py_ssize_t)RAW_MAX * 2) {
            PyErr_SetString(PyExc_ValueError, "expected streams of bytes, bounded");
            return NULL;
        }
        s.in[i].p = (const uint8_t *)PyBytes_AS_STRING(stream);
        s.in[i].n = (size_t)PyBytes_GET_SIZE(stream);
    }
    PyObject *raw = PyBytes_FromStringAndSize(NULL, size);
    if (raw == NULL)
        return NULL;
    s.raw = (uint8_t *)PyBytes_AS_STRING(raw);
    int sound = 0;
    Py_BEGIN_ALLOW_THREADS
    s.turned = malloc((size_t)size + 64);
    s.no_memory = s.turned == NULL;
    if (!s.no_memory)
        sound = joined(&s);
    free(s.turned);
    free(s.flows);
    free(s.kinds);
    free(s.columns);
    free(s.talks);
    free(s.guess.pair);
    free(s.guess.one);
    Py_END_ALLOW_THREADS
    if (sound)
        return raw;
    Py_DECREF(raw);
    if (s.no_memory)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "expected streams that fit each other");
    return NULL;
}

/* ---- Interfaces ------------------------------------------------------------------------------------------------------------- */

/* The interface of each packet block, in a stream of its own, as it differs from the last one with the same source address: at a
 * passive tap a sender is heard on one side, so nearly all of it is zero. The blocks are left with interface 0, as `split` wants them.
 * take: numbers to stream; otherwise back. Returns how many, or -1: a number that is no byte, a stream of another length. */
#define SENDERS 1024u

static Py_ssize_t interfaces(uint8_t *b, size_t size, uint8_t *stream, size_t count, int take)
{
    uint8_t last[SENDERS] = {0};
    size_t n = 0;
    uint32_t block = 0;
    for (size_t at = 0; size - at >= 32; at += block) {
        block = ld32(b + at + 4);
        if (block < 12 || block % 4 || block > size - at)
            break;
        if (ld32(b + at) != 6 || block < 32)
            continue;
        uint8_t *guess = last + (block >= 28 + 12 + 4 ? hashed(b + at + 28 + 6, 6) % SENDERS : 0);
        if (n == count)
            return -1;
        if (take) {
            if (ld32(b + at + 8) > 255)
                return -1;
            stream[n] = b[at + 8] ^ *guess;
            *guess = b[at + 8];
            st32(b + at + 8, 0);
        } else {
            if (ld32(b + at + 8))
                return -1;
            *guess ^= stream[n];
            b[at + 8] = *guess;
        }
        n++;
    }
    return (Py_ssize_t)n;
}

static PyObject *take_interfaces(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw;
    if (!PyArg_ParseTuple(args, "y*", &raw))
        return NULL;
    PyObject *result = NULL, *blocks = PyBytes_FromStringAndSize(raw.buf, raw.len);
    PyObject *stream = PyBytes_FromStringAndSize(NULL, raw.len / 32 + 1); /* no packet block is shorter than 32 bytes */
    Py_ssize_t count = -1;
    if (blocks != NULL && stream != NULL) {
        Py_BEGIN_ALLOW_THREADS
        count = interfaces((uint8_t *)PyBytes_AS_STRING(blocks), (size_t)raw.len, (uint8_t *)PyBytes_AS_STRING(stream),
                           (size_t)raw.len / 32 + 1, 1);
        Py_END_ALLOW_THREADS
        if (count < 0)
            PyErr_SetString(PyExc_ValueError, "expected interfaces of 0 to 255");
        else if (_PyBytes_Resize(&stream, count) == 0)
            result = PyTuple_Pack(2, blocks, stream);
    }
    Py_XDECREF(blocks);
    Py_XDECREF(stream);
    PyBuffer_Release(&raw);
    return result;
}

static PyObject *put_interfaces(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw, stream;
    if (!PyArg_ParseTuple(args, "y*y*", &raw, &stream))
        return NULL;
    PyObject *blocks = PyBytes_FromStringAndSize(raw.buf, raw.len);
    Py_ssize_t count = -1;
    if (blocks != NULL) {
        Py_BEGIN_ALLOW_THREADS
        count = interfaces((uint8_t *)PyBytes_AS_STRING(blocks), (size_t)raw.len, stream.buf, (size_t)stream.len, 0);
        Py_END_ALLOW_THREADS
        if (count != stream.len) {
            PyErr_SetString(PyExc_ValueError, "expected an interface for each packet block");
            Py_CLEAR(blocks);
        }
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&stream);
    return blocks;
}

static PyMethodDef functions[] = {
    {"take_interfaces", take_interfaces, METH_VARARGS, "take_interfaces(pcapng blocks) -> (the same of interface 0, a stream)"},
    {"put_interfaces", put_interfaces, METH_VARARGS, "put_interfaces(blocks, stream) -> the blocks taken; ValueError when they do not fit"},
    {"split", split, METH_VARARGS, "split(pcapng blocks) -> streams"},
    {"join", join, METH_VARARGS, "join(streams, size) -> the pcapng blocks; ValueError when the streams do not fit each other"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_dense", "Frames into columns.", -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__dense(void)
{
    for (size_t i = 1; i < sizeof bits_of / sizeof *bits_of; i++)
        bits_of[i] = (float)log2((double)i);
    for (uint32_t i = 0; i < 256; i++) {
        uint64_t long_ = (uint64_t)i << 56;
        uint32_t brief = i << 8;
        for (int bit = 0; bit < 8; bit++) {
            long_ = long_ >> 63 ? long_ << 1 ^ 0x42F0E1EBA9EA3693ull : long_ << 1;
            brief = brief & 0x8000 ? brief << 1 ^ 0x1021 : brief << 1;
        }
        crc64_of[i] = long_;
        crc16_of[i] = (uint16_t)brief;
    }
    PyObject *m = PyModule_Create(&module);
    if (m == NULL || PyModule_AddIntConstant(m, "STREAMS", STREAMS) < 0 || PyModule_AddIntConstant(m, "RAW_MAX", RAW_MAX) < 0) {
        Py_XDECREF(m);
        return NULL;
    }
    return m;
}
