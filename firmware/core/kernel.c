/* The only C of the firmware: one pass over every frame, to record it and to find it again.
 *
 * Why C: a Gbit/s of small frames is 1.5 million a second. Python spends about a microsecond on one call, so it may touch blocks
 * and stretches, never frames. Everything here runs with the interpreter lock released and allocates nothing per frame.
 *
 * Trusts nothing: a block, a stretch read back and a query may be any bytes. Every length is checked against the buffer it lies in
 * before it is used; what does not fit is counted and ends the walk. (tests/fuzz/test_block.py, test_segment.py)
 *
 * Stretch(capacity)   collects pcapng Enhanced Packet Blocks and the index keys of what is in them
 * scan(...)           copies the Enhanced Packet Blocks that match a query exactly
 * may_contain(...)    whether a sorted set of keys leaves the query possible
 * ipv6_key(...)       the 56 bits that stand for an IPv6 address in the index
 *
 * Block layout: drivers/tap.py. Pcapng: draft-ietf-opsawg-pcapng, section 4.3. Keys: firmware/core/index.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segments are little endian and are written as they lie in memory; no big-endian board is supported"
#endif

#define SNAP_MAX 262144u           /* libpcap's MAXIMUM_SNAPLEN; no tap of ours hands over more of a frame */
#define FRAME_ROOM (SNAP_MAX + 64u) /* a block around the longest frame with a VLAN tag put back */
#define KEY_SLOTS 8192u            /* power of two; twice KEYS_MAX, so that probing stays short */
#define KEYS_MAX 4096u             /* 32 KiB of index for a stretch of 512 KiB is the most an index may cost; above: "anything" */
#define FLOW_SLOTS 1024u           /* power of two; recent flows whose keys are already in the set: 56 KiB, stays in the L2 cache */
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

/* ---- Stretch ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    uint8_t *out;
    Py_ssize_t capacity, used;
    unsigned long long frames, hardware, wire, captured, malformed, first_ns, last_ns;
    uint64_t slots[KEY_SLOTS]; /* 0 is free: no key is 0, its kind is at least 1 */
    uint32_t key_count;
    int overflow;
    struct facts flows[FLOW_SLOTS]; /* all zero is free: no frame with MACs has has == 0 */
    Py_ssize_t exports;
    int busy;
} Stretch;

static void forget(Stretch *s)
{
    s->used = 0;
    s->frames = s->hardware = s->wire = s->captured = s->malformed = s->first_ns = s->last_ns = 0;
    s->key_count = 0;
    s->overflow = 0;
    memset(s->slots, 0, sizeof s->slots);
    memset(s->flows, 0, sizeof s->flows);
}

static void insert(Stretch *s, uint64_t k)
{
    uint32_t at = (uint32_t)mixed(k) & (KEY_SLOTS - 1);
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
    s->key_count++;
}

/* Count a frame and make sure its keys are in the set. The flow table is compared in full: a hash would let a crafted frame hide. */
static inline void note(Stretch *s, const uint8_t *m, uint32_t n, uint32_t wire, uint64_t stamp)
{
    if (s->frames == 0 || stamp < s->first_ns)
        s->first_ns = stamp;
    if (s->frames == 0 || stamp > s->last_ns)
        s->last_ns = stamp;
    s->frames++;
    s->wire += wire;
    s->captured += n;
    if (s->overflow)
        return;
    struct facts f;
    facts_of(&f, m, n);
    uint64_t w[7], h = 0;
    memcpy(w, &f, sizeof w);
    for (int i = 0; i < 7; i++)
        h = (h ^ w[i]) * 0x9E3779B97F4A7C15ull, h ^= h >> 32;
    struct facts *seen = &s->flows[h & (FLOW_SLOTS - 1)];
    if (memcmp(seen, &f, sizeof f) == 0)
        return;
    *seen = f;
    uint64_t keys[12];
    int count = keys_of(&f, keys);
    for (int i = 0; i < count; i++)
        insert(s, keys[i]);
}

struct cursor { uint32_t index; uint64_t offset; int why; };

/* Frames of a block from the cursor on, until it ends, the stretch is full or a frame belongs to the next segment. */
static struct cursor walk(Stretch *s, const uint8_t *b, uint64_t size, struct cursor c, uint64_t cut_ns, uint64_t mad_ns)
{
    c.why = BLOCK_DONE;
    if (size < BLOCK_HEADER) {
        s->malformed++;
        return c;
    }
    uint32_t count = ld32(b + 12);
    uint64_t end = ld32(b + 20);
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
        uint32_t tag = (status & 1u << 4) && captured >= 12 ? 4 : 0;
        uint32_t kept = captured + tag, padded = (kept + 3) & ~3u, total = 32 + padded;
        if (s->used + (Py_ssize_t)total > s->capacity) {
            c.why = STRETCH_FULL;
            return c;
        }
        uint8_t *o = s->out + s->used, *data = o + 28;
        if (wire < captured)
            wire = captured;
        wire += tag;
        st32(o, 6);
        st32(o + 4, total);
        st32(o + 8, 0);
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
        memset(data + kept, 0, padded - kept);
        st32(o + total - 4, total);
        s->used += total;
        s->hardware += status >> 31;
        note(s, data, kept, wire, stamp);
        c.index++;
        c.offset += next;
    }
    return c;
malformed:
    s->malformed += count - c.index;
    c.index = count;
    return c;
}

struct packet { const uint8_t *data; uint32_t captured, wire, size; uint64_t stamp; };

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
    unsigned int index;
    unsigned long long offset, cut_ns, mad_ns;
    if (!PyArg_ParseTuple(args, "y*IKKK", &block, &index, &offset, &cut_ns, &mad_ns))
        return NULL;
    if (taken(s)) {
        PyBuffer_Release(&block);
        return NULL;
    }
    struct cursor c = {index, offset, 0};
    if (offset > (unsigned long long)block.len)
        c.offset = (uint64_t)block.len; /* then it is malformed, and no sum below can wrap */
    s->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    c = walk(s, block.buf, (uint64_t)block.len, c, cut_ns, mad_ns);
    Py_END_ALLOW_THREADS
    s->busy = 0;
    PyBuffer_Release(&block);
    return Py_BuildValue("IKi", (unsigned int)c.index, (unsigned long long)c.offset, c.why);
}

static PyObject *stretch_survey(Stretch *s, PyObject *args)
{
    Py_buffer raw;
    if (!PyArg_ParseTuple(args, "y*", &raw))
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
        if (found)
            note(s, p.data, p.captured, p.wire, p.stamp);
        at += p.size;
    }
    Py_END_ALLOW_THREADS
    s->busy = 0;
    PyBuffer_Release(&raw);
    return PyBool_FromLong(sound);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = ld64(a), y = ld64(b);
    return (x > y) - (x < y);
}

static PyObject *stretch_keys(Stretch *s, PyObject *Py_UNUSED(ignored))
{
    uint32_t count = s->overflow ? 0 : s->key_count, n = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count * 8);
    if (bytes == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(bytes);
    for (uint32_t i = 0; i < KEY_SLOTS && n < count; i++)
        if (s->slots[i] != 0)
            memcpy(to + 8 * (size_t)n++, &s->slots[i], 8);
    qsort(to, n, 8, ascending);
    return bytes;
}

static PyObject *stretch_clear(Stretch *s, PyObject *Py_UNUSED(ignored))
{
    if (taken(s))
        return NULL;
    forget(s);
    Py_RETURN_NONE;
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
    s->out = malloc((size_t)capacity);
    if (s->out == NULL) {
        Py_DECREF(s);
        return PyErr_NoMemory();
    }
    s->capacity = capacity;
    forget(s);
    return (PyObject *)s;
}

static void stretch_dealloc(Stretch *s)
{
    free(s->out);
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
    {"overflow", (getter)stretch_overflow, NULL, "Too many keys: may contain anything.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef stretch_methods[] = {
    {"add", (PyCFunction)stretch_add, METH_VARARGS, "add(block, index, offset, cut_ns, mad_ns) -> (index, offset, why)"},
    {"survey", (PyCFunction)stretch_survey, METH_VARARGS, "survey(enhanced packet blocks) -> whether they were sound"},
    {"keys", (PyCFunction)stretch_keys, METH_NOARGS, "Its keys, sorted, little endian; empty after an overflow."},
    {"clear", (PyCFunction)stretch_clear, METH_NOARGS, "Empty it."},
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

static PyObject *scan(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer raw, terms;
    unsigned long long since_ns, until_ns, first = 0, last = 0;
    struct query q;
    if (!PyArg_ParseTuple(args, "y*y*KK", &raw, &terms, &since_ns, &until_ns))
        return NULL;
    PyObject *hits = NULL, *result = NULL;
    if (query_of(&terms, &q) < 0)
        goto out;
    hits = PyBytes_FromStringAndSize(NULL, raw.len);
    if (hits == NULL)
        goto out;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(hits);
    const uint8_t *b = raw.buf;
    uint64_t at = 0, size = (uint64_t)raw.len, used = 0;
    unsigned long long count = 0;
    int sound = 1;
    Py_BEGIN_ALLOW_THREADS
    while (at < size) {
        struct packet p;
        int found = packet_at(b, size, at, &p);
        if (found < 0) {
            sound = 0;
            break;
        }
        if (found && p.stamp >= since_ns && p.stamp <= until_ns && matches(&q, p.data, p.captured)) {
            memcpy(to + used, b + at, p.size);
            used += p.size;
            if (count == 0 || p.stamp < first)
                first = p.stamp;
            if (count == 0 || p.stamp > last)
                last = p.stamp;
            count++;
        }
        at += p.size;
    }
    Py_END_ALLOW_THREADS
    if (_PyBytes_Resize(&hits, (Py_ssize_t)used) < 0)
        goto out;
    result = Py_BuildValue("OKKKO", hits, count, first, last, sound ? Py_True : Py_False);
out:
    Py_XDECREF(hits);
    PyBuffer_Release(&raw);
    PyBuffer_Release(&terms);
    return result;
}

static PyObject *may_contain(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer keys, terms;
    struct query q;
    if (!PyArg_ParseTuple(args, "y*y*", &keys, &terms))
        return NULL;
    PyObject *result = NULL;
    if (query_of(&terms, &q) == 0) {
        const uint8_t *k = keys.buf;
        uint32_t met = 0;
        for (uint32_t i = 0; i < q.count; i++) {
            const uint8_t *term = q.terms + i * TERM_SIZE;
            uint64_t wanted = ld64(term + 4);
            size_t low = 0, high = (size_t)keys.len / 8;
            while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (ld64(k + 8 * middle) < wanted)
                    low = middle + 1;
                else
                    high = middle;
            }
            if (low < (size_t)keys.len / 8 && ld64(k + 8 * low) == wanted)
                met |= 1u << ld32(term);
        }
        result = PyBool_FromLong(met == q.groups);
    }
    PyBuffer_Release(&keys);
    PyBuffer_Release(&terms);
    return result;
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
    {"may_contain", may_contain, METH_VARARGS, "may_contain(sorted keys, terms) -> whether a frame matching the terms is possible"},
    {"ipv6_key", ipv6_key, METH_VARARGS, "ipv6_key(address) -> 56 bits"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "One pass over every frame.", -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void)
{
    if (PyType_Ready(&StretchType) < 0)
        return NULL;
    PyObject *m = PyModule_Create(&module);
    if (m == NULL)
        return NULL;
    if (PyModule_AddObjectRef(m, "Stretch", (PyObject *)&StretchType) < 0) {
        Py_DECREF(m);
        return NULL;
    }
    return m;
}
