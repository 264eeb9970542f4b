/* SHA-256 of the pieces of a file, two at a time, and what a link of the chain needs beside it.
 *
 * Why C: the round instruction of a processor takes four cycles to answer and could begin another every two, so one stream of bytes
 * leaves half of it idle: 1.54 GB/s for one, 2.63 GB/s for two (a 2021 server core; three and more spill registers: 2.37). No library
 * offers two streams in one call. Where the instructions are missing, `is_fast` is false and OpenSSL makes the same digests (digest.py).
 * All of that is the vector side of the processor; the checksum of an LZ4 block, multiplications each of which waits for the one before,
 * runs between the rounds on the other side and costs next to nothing there, where alone it costs half as much as the digest.
 *
 * Pieces()            the digest of a file in pieces as its bytes come; after_link(link) fills in a link's checksum on the way
 *
 * Trusts nothing: data may be any bytes. Source: FIPS 180-4; Intel SHA extensions, order of the state words as its white paper has it;
 * xxh32: checksum.h.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "checksum.h"

#define DIGEST_SIZE 32
#define BLOCK_SIZE 64
#define PIECE_SIZE (64u << 10) /* digest.py, PIECE_BYTES */
#define LINK_HEAD 4u           /* a link's size word, lz4chain.py, */
#define LINK_TAIL 4u           /* and its checksum, of what is in between */

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static int is_fast(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & 1u << 29;
}

#define FAST __attribute__((target("sha,sse4.1")))
#define LANES 2

/* Blocks of both lanes into their states, ABEF and CDGH each; and up to as many bytes into the checksum on the way, where there is one. */
FAST static inline __attribute__((always_inline)) void compress_with(
    __m128i abef[LANES], __m128i cdgh[LANES], const uint8_t *const data[LANES], size_t blocks, struct checksum *sum, int is_summed)
{
    const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i a[LANES] = {abef[0], abef[1]}, c[LANES] = {cdgh[0], cdgh[1]};
    for (size_t at = 0; at < blocks * BLOCK_SIZE; at += BLOCK_SIZE) {
        __m128i words[LANES][4], a_before[LANES], c_before[LANES];
        for (int l = 0; l < LANES; l++) {
            a_before[l] = a[l];
            c_before[l] = c[l];
            for (int i = 0; i < 4; i++)
                words[l][i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data[l] + at + 16 * i)), turn);
        }
        int sums = is_summed && sum->end - sum->at >= SUM_STEP * 8;
#pragma GCC unroll 16
        for (int round = 0; round < 16; round++) {
            __m128i k = _mm_load_si128((const __m128i *)(constants + 4 * round));
#pragma GCC unroll 2
            for (int l = 0; l < LANES; l++) {
                __m128i *w = words[l];
                if (round >= 4) {
                    __m128i sum = _mm_sha256msg1_epu32(w[round & 3], w[(round + 1) & 3]);
                    sum = _mm_add_epi32(sum, _mm_alignr_epi8(w[(round + 3) & 3], w[(round + 2) & 3], 4));
                    w[round & 3] = _mm_sha256msg2_epu32(sum, w[(round + 3) & 3]);
                }
                __m128i t = _mm_add_epi32(w[round & 3], k);
                c[l] = _mm_sha256rnds2_epu32(c[l], a[l], t);
                a[l] = _mm_sha256rnds2_epu32(a[l], c[l], _mm_shuffle_epi32(t, 0x0e));
            }
            if (is_summed && sums && round & 1)
                checksum_step(sum);
        }
        for (int l = 0; l < LANES; l++) {
            a[l] = _mm_add_epi32(a[l], a_before[l]);
            c[l] = _mm_add_epi32(c[l], c_before[l]);
        }
    }
    for (int l = 0; l < LANES; l++) {
        abef[l] = a[l];
        cdgh[l] = c[l];
    }
}

FAST static void compress(__m128i abef[LANES], __m128i cdgh[LANES], const uint8_t *const data[LANES], size_t blocks)
{
    compress_with(abef, cdgh, data, blocks, NULL, 0);
}

FAST static void compress_and_sum(__m128i abef[LANES], __m128i cdgh[LANES], const uint8_t *const data[LANES], size_t blocks,
                                  struct checksum *of)
{
    struct checksum local = *of; /* in registers: bytes read through pointers might be anybody's */
    compress_with(abef, cdgh, data, blocks, &local, 1);
    *of = local;
}

/* ---- Pieces ----------------------------------------------------------------------------------------------------------------- */

/* One SHA-256 under way; what is not a whole block yet is in `rest`. */
struct stream {
    uint32_t abef[4], cdgh[4];
    uint64_t size;
    uint8_t rest[BLOCK_SIZE];
};

static const struct stream fresh = {.abef = {0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667}, .cdgh = {0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}};

/* Blocks of one or of two streams at once, as many of each. */
FAST static void advance(struct stream *const of[LANES], const uint8_t *const data[LANES], size_t blocks, struct checksum *sum)
{
    __m128i a[LANES], c[LANES];
    for (int l = 0; l < LANES; l++) {
        a[l] = _mm_loadu_si128((const __m128i *)of[l]->abef);
        c[l] = _mm_loadu_si128((const __m128i *)of[l]->cdgh);
    }
    if (sum != NULL)
        compress_and_sum(a, c, data, blocks, sum);
    else
        compress(a, c, data, blocks);
    for (int l = 0; l < LANES; l++) {
        _mm_storeu_si128((__m128i *)of[l]->abef, a[l]);
        _mm_storeu_si128((__m128i *)of[l]->cdgh, c[l]);
    }
}

static void blocks_of(struct stream *s, const uint8_t *data, size_t blocks)
{
    advance((struct stream *const[LANES]){s, s}, (const uint8_t *const[LANES]){data, data}, blocks, NULL);
}

/* Some of these bytes, so that the next begin a block if there are so many; how many. */
static size_t fill(struct stream *s, const uint8_t *data, size_t size)
{
    size_t begun = s->size % BLOCK_SIZE, room = begun ? BLOCK_SIZE - begun : 0, taken = room < size ? room : size;
    memcpy(s->rest + begun, data, taken);
    s->size += taken;
    if (taken && s->size % BLOCK_SIZE == 0)
        blocks_of(s, s->rest, 1);
    return taken;
}

static void take(struct stream *s, const uint8_t *data, size_t size)
{
    size_t at = fill(s, data, size), blocks = (size - at) / BLOCK_SIZE;
    if (blocks) {
        blocks_of(s, data + at, blocks);
        s->size += blocks * BLOCK_SIZE;
        at += blocks * BLOCK_SIZE;
    }
    memcpy(s->rest + s->size % BLOCK_SIZE, data + at, size - at);
    s->size += size - at;
}

static void end(const struct stream *of, uint8_t *digest)
{
    struct stream s = *of;
    size_t begun = s.size % BLOCK_SIZE;
    uint8_t ending[2 * BLOCK_SIZE] = {0};
    memcpy(ending, s.rest, begun);
    ending[begun] = 0x80;
    size_t size = begun + 9 > BLOCK_SIZE ? 2 * BLOCK_SIZE : BLOCK_SIZE;
    for (int i = 0; i < 8; i++)
        ending[size - 1 - i] = (uint8_t)(s.size * 8 >> 8 * i);
    blocks_of(&s, ending, size / BLOCK_SIZE);
    const uint32_t words[8] = {s.abef[3], s.abef[2], s.cdgh[3], s.cdgh[2], s.abef[1], s.abef[0], s.cdgh[1], s.cdgh[0]};
    for (int i = 0; i < DIGEST_SIZE; i++)
        digest[i] = (uint8_t)(words[i / 4] >> (24 - i % 4 * 8));
}

/* piece: the one begun, shorter than a whole one. root: over the digests of the others. */
typedef struct {
    PyObject_HEAD
    struct stream root, piece;
} Pieces;

/* Where one of two lanes is: in which piece, and what of the data is still to come for it. */
struct lane { struct stream stream; const uint8_t *at; size_t blocks, number; };

/* A piece as far as it has come: its digest when it is whole. */
static void keep(Pieces *p, const struct stream *s)
{
    uint8_t digest[DIGEST_SIZE];
    if (s->size == PIECE_SIZE) {
        end(s, digest);
        take(&p->root, digest, DIGEST_SIZE);
    } else {
        p->piece = *s;
    }
}

/* Bytes that follow; sum: of these, as far as there is time for it beside. */
static void follow(Pieces *p, const uint8_t *data, size_t size, struct checksum *sum)
{
    size_t taken = fill(&p->piece, data, size);
    data += taken;
    size -= taken;
    if (p->piece.size == PIECE_SIZE) {
        keep(p, &p->piece);
        p->piece = fresh;
    }
    size_t waiting = size / BLOCK_SIZE, number = 0;
    struct lane lanes[LANES] = {{.blocks = 0}, {.blocks = 0}};
    const uint8_t *next = data;
    for (;;) {
        for (int l = 0; l < LANES; l++)
            if (lanes[l].blocks == 0 && waiting) {
                struct stream begun = p->piece; /* that of an earlier call, then new ones */
                size_t room = (PIECE_SIZE - (size_t)begun.size) / BLOCK_SIZE, blocks = room < waiting ? room : waiting;
                lanes[l] = (struct lane){begun, next, blocks, number++};
                next += blocks * BLOCK_SIZE;
                waiting -= blocks;
                p->piece = fresh;
            }
        struct lane *first = &lanes[0], *other = &lanes[1];
        if (first->blocks == 0 && other->blocks == 0)
            break;
        /* The last piece is alone in the end: in both lanes, then. */
        if (first->blocks == 0 || (other->blocks && other->number < first->number))
            first = &lanes[1], other = &lanes[0];
        struct lane *beside = other->blocks ? other : first;
        size_t many = first->blocks < beside->blocks ? first->blocks : beside->blocks;
        advance((struct stream *const[LANES]){&first->stream, &beside->stream}, (const uint8_t *const[LANES]){first->at, beside->at}, many, sum);
        struct lane *const both[LANES] = {first, other};
        for (int l = 0; l < LANES; l++)
            if (both[l]->blocks) {
                both[l]->at += many * BLOCK_SIZE;
                both[l]->blocks -= many;
                both[l]->stream.size += many * BLOCK_SIZE;
                /* Whole ones end in their order: an earlier one began earlier, and none is longer than another. */
                if (both[l]->blocks == 0)
                    keep(p, &both[l]->stream);
            }
    }
    if (size % BLOCK_SIZE) {
        memcpy(p->piece.rest, next, size % BLOCK_SIZE);
        p->piece.size += size % BLOCK_SIZE;
    }
}

#else
static int is_fast(void) { return 0; }
#endif

#ifdef __x86_64__
static PyTypeObject PiecesType;

static PyObject *pieces_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    if (!PyArg_ParseTuple(args, ""))
        return NULL;
    if (!is_fast()) {
        PyErr_SetString(PyExc_ValueError, "expected a processor with SHA instructions");
        return NULL;
    }
    Pieces *p = (Pieces *)type->tp_alloc(type, 0);
    if (p != NULL)
        p->root = p->piece = fresh;
    return (PyObject *)p;
}

static PyObject *pieces_update(Pieces *p, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    follow(p, view.buf, (size_t)view.len, NULL);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *pieces_after_link(Pieces *p, PyObject *link)
{
    Py_buffer view;
    if (PyObject_GetBuffer(link, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    Pieces *after = NULL;
    if (view.len < (Py_ssize_t)(LINK_HEAD + LINK_TAIL)) {
        PyErr_SetString(PyExc_ValueError, "expected a link with its size word and room for its checksum");
        goto out;
    }
    after = PyObject_New(Pieces, &PiecesType);
    if (after == NULL)
        goto out;
    after->root = p->root;
    after->piece = p->piece;
    uint8_t *b = view.buf;
    size_t until = (size_t)view.len - LINK_TAIL;
    Py_BEGIN_ALLOW_THREADS
    struct checksum sum = checksum_of(b + LINK_HEAD, until - LINK_HEAD);
    follow(after, b, until, &sum);
    uint32_t found = checksum_end(&sum);
    memcpy(b + until, &found, LINK_TAIL);
    follow(after, b + until, LINK_TAIL, NULL);
    Py_END_ALLOW_THREADS
out:
    PyBuffer_Release(&view);
    return (PyObject *)after;
}

static PyObject *pieces_digest(const Pieces *p, PyObject *Py_UNUSED(ignored))
{
    uint8_t digest[DIGEST_SIZE];
    struct stream root = p->root;
    if (p->piece.size) {
        end(&p->piece, digest);
        take(&root, digest, DIGEST_SIZE);
    }
    end(&root, digest);
    return PyBytes_FromStringAndSize((const char *)digest, DIGEST_SIZE);
}

static PyMethodDef pieces_methods[] = {
    {"update", (PyCFunction)pieces_update, METH_O, "update(data): bytes that follow."},
    {"after_link", (PyCFunction)pieces_after_link, METH_O, "after_link(link) -> Pieces with it; its checksum is filled in."},
    {"digest", (PyCFunction)pieces_digest, METH_NOARGS, "32 bytes, of all so far; more may follow."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject PiecesType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "firmware.core._digest.Pieces",
    .tp_doc = "The digest of a file in pieces, as its bytes come; only where it is fast.",
    .tp_basicsize = sizeof(Pieces),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = pieces_new,
    .tp_methods = pieces_methods,
};
#endif

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_digest", "SHA-256 of the pieces of a file, two at a time.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__digest(void)
{
    PyObject *m = PyModule_Create(&module);
    if (m != NULL && PyModule_AddObject(m, "is_fast", PyBool_FromLong(is_fast())) < 0)
        Py_CLEAR(m);
#ifdef __x86_64__
    if (m != NULL && (PyType_Ready(&PiecesType) < 0 || PyModule_AddObjectRef(m, "Pieces", (PyObject *)&PiecesType) < 0))
        Py_CLEAR(m);
#endif
    return m;
}
