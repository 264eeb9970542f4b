/* Stamps of the interface's own clock into UTC, in the ring's block, where they lie: Python touches blocks, never frames.
 *
 * The arithmetic is drivers/hardware_clock.py: Translation.utc_ns, and the layout drivers/tap.py's, whose `to_utc` says the same in Python
 * and is what this is held against (tests/drivers/test_stamps.py). 3 ns a frame of 200 bytes, of which the recorder's own pass, which finds
 * the headers in the cache then, gives most back.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_HEADER 48u
#define FRAME_HEADER 48u
#define HARDWARE (1u << 31) /* TP_STATUS_TS_RAW_HARDWARE */
#define TRANSLATED (1u << 30) /* TP_STATUS_TS_SYS_HARDWARE */
#define SECOND 1000000000ll

static inline uint32_t ld32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline void st32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

static inline void put(uint8_t *p, int64_t stamp)
{
    st32(p, (uint32_t)(stamp / SECOND));
    st32(p + 4, (uint32_t)(stamp % SECOND));
}

/* Towards minus infinity, as Python divides. */
static inline __int128 gained(__int128 passed, int64_t ppb)
{
    __int128 product = passed * ppb;
    return product / SECOND - (product % SECOND < 0);
}

static PyObject *to_utc(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer block;
    long long at, ahead, ppb, earliest, latest;
    if (!PyArg_ParseTuple(args, "w*LLLLL", &block, &at, &ahead, &ppb, &earliest, &latest))
        return NULL;
    uint8_t *b = block.buf;
    uint64_t size = (uint64_t)block.len, kept = 0, refused = 0;
    Py_BEGIN_ALLOW_THREADS
    if (size >= BLOCK_HEADER) {
        uint32_t count = ld32(b + 12);
        uint64_t offset = ld32(b + 16), end = ld32(b + 20);
        if (end > size)
            end = size;
        for (uint32_t i = 0; i < count && offset >= BLOCK_HEADER && offset + FRAME_HEADER <= end; i++) {
            uint8_t *h = b + offset;
            uint32_t next = ld32(h), status = ld32(h + 20);
            if ((status & HARDWARE) && !(status & TRANSLATED)) {
                /* Wide: both what a card shows and what it is ahead may be of any century. */
                __int128 raw = (int64_t)ld32(h + 4) * SECOND + ld32(h + 8);
                __int128 utc = raw - ahead - gained(raw - at, ppb);
                if (utc < earliest || utc > latest) {
                    /* It did not arrive then. When it did is known as well as the block is short, and no hardware says it. */
                    utc = utc < earliest ? earliest : latest;
                    st32(h + 20, status & ~HARDWARE);
                    refused++;
                } else {
                    st32(h + 20, status | TRANSLATED);
                    kept++;
                }
                put(h + 4, (int64_t)utc);
            }
            if (i + 1 == count)
                memcpy(b + 40, h + 4, 8);
            if (next < FRAME_HEADER)
                break;
            offset += next;
        }
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&block);
    return Py_BuildValue("KK", (unsigned long long)kept, (unsigned long long)refused);
}

static PyMethodDef methods[] = {
    {"to_utc", to_utc, METH_VARARGS, "to_utc(block, at_ns, ahead_ns, gain_ppb, earliest_ns, latest_ns) -> (stamps translated, stamps refused)"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_stamps", "Hardware stamps into UTC; see stamps.c.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__stamps(void) { return PyModule_Create(&module); }
