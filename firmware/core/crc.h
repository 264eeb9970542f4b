/* CRC-32 as zlib's (polynomial edb88320, reflected), for the records of an index: it is checked whole before it is believed, and of a search
 * for a rare flow that was a tenth, the start of Python included, at eight bytes a step (2 GB/s here, zlib 4, this 13).
 *
 * Where the processor multiplies without carries (x86: pclmulqdq), 64 bytes a step: four remainders of 128 bits, each moved over the 512 bits
 * that follow it by two multiplications, then into one another, then reduced (Barrett). Method and constants, x^n mod the polynomial, bits
 * reversed: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009. ARM has an instruction for eight bytes.
 */
static uint32_t crc_tables[8][256];
static int crc_is_fast;

#ifdef __x86_64__
#include <immintrin.h>

#define FAST_CRC __attribute__((target("pclmul,sse4.1")))
#define CRC_STEP 64u
#define CRC_TAIL 16u

FAST_CRC static inline __m128i crc_moved(__m128i remainder, __m128i by)
{
    return _mm_xor_si128(_mm_clmulepi64_si128(remainder, by, 0x00), _mm_clmulepi64_si128(remainder, by, 0x11));
}

/* size: at least CRC_STEP, and whole CRC_TAILs. */
FAST_CRC static uint32_t crc32_fast(uint32_t c, const uint8_t *b, size_t size)
{
    const __m128i over_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), over_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i over_64 = _mm_set_epi64x(0, 0x163cd6124), barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    const __m128i low_32 = _mm_set_epi32(0, -1, 0, -1);
    __m128i r[4];
    for (int n = 0; n < 4; n++)
        r[n] = _mm_loadu_si128((const __m128i *)(const void *)(b + 16 * n));
    r[0] = _mm_xor_si128(r[0], _mm_cvtsi32_si128((int)c));
    for (b += CRC_STEP, size -= CRC_STEP; size >= CRC_STEP; b += CRC_STEP, size -= CRC_STEP)
        for (int n = 0; n < 4; n++)
            r[n] = _mm_xor_si128(crc_moved(r[n], over_512), _mm_loadu_si128((const __m128i *)(const void *)(b + 16 * n)));
    __m128i all = r[0];
    for (int n = 1; n < 4; n++)
        all = _mm_xor_si128(crc_moved(all, over_128), r[n]);
    for (; size; b += CRC_TAIL, size -= CRC_TAIL)
        all = _mm_xor_si128(crc_moved(all, over_128), _mm_loadu_si128((const __m128i *)(const void *)b));
    all = _mm_xor_si128(_mm_srli_si128(all, 8), _mm_clmulepi64_si128(all, over_128, 0x10));
    all = _mm_xor_si128(_mm_srli_si128(all, 4), _mm_clmulepi64_si128(_mm_and_si128(all, low_32), over_64, 0x00));
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(all, low_32), barrett, 0x10);
    all = _mm_xor_si128(all, _mm_clmulepi64_si128(_mm_and_si128(quotient, low_32), barrett, 0x00));
    return (uint32_t)_mm_extract_epi32(all, 1);
}

static int crc_has_fast(void) { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>

#define FAST_CRC __attribute__((target("+crc")))
#define CRC_STEP 8u
#define CRC_TAIL 8u

FAST_CRC static uint32_t crc32_fast(uint32_t c, const uint8_t *b, size_t size)
{
    for (; size; b += CRC_STEP, size -= CRC_STEP) {
        uint64_t word;
        memcpy(&word, b, sizeof word);
        c = __crc32d(c, word);
    }
    return c;
}

static int crc_has_fast(void) { return (getauxval(AT_HWCAP) & 1u << 7) != 0; } /* HWCAP_CRC32, asm/hwcap.h */

#else
#define CRC_STEP 8u
#define CRC_TAIL 8u
static uint32_t crc32_fast(uint32_t c, const uint8_t *Py_UNUSED(b), size_t Py_UNUSED(size)) { return c; }
static int crc_has_fast(void) { return 0; }
#endif

static void make_crc_tables(void)
{
    crc_is_fast = crc_has_fast();
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
        crc_tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_tables[t][i] = crc_tables[t - 1][i] >> 8 ^ crc_tables[0][crc_tables[t - 1][i] & 255];
}

/* As zlib's crc32(0, b, size). is_fast: 0 to do without what only some processors have. */
static uint32_t crc32_by(const uint8_t *b, size_t size, int is_fast)
{
    uint32_t c = 0xffffffffu;
    if (is_fast && size >= CRC_STEP) {
        size_t whole = size - size % CRC_TAIL;
        c = crc32_fast(c, b, whole);
        b += whole;
        size -= whole;
    }
    for (; size >= 8; b += 8, size -= 8) {
        uint32_t low = ld32(b) ^ c, high = ld32(b + 4);
        c = crc_tables[7][low & 255] ^ crc_tables[6][low >> 8 & 255] ^ crc_tables[5][low >> 16 & 255] ^ crc_tables[4][low >> 24]
            ^ crc_tables[3][high & 255] ^ crc_tables[2][high >> 8 & 255] ^ crc_tables[1][high >> 16 & 255] ^ crc_tables[0][high >> 24];
    }
    for (; size; b++, size--)
        c = c >> 8 ^ crc_tables[0][(c ^ *b) & 255];
    return ~c;
}

static uint32_t crc32_of(const uint8_t *b, size_t size) { return crc32_by(b, size, crc_is_fast); }
