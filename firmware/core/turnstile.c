/* Published messages that are plain, from a block of frames to the bytes that are stored: one pass, nothing of Python's in between.
 *
 * Why C: a robot's publishers say ten thousand things a second, and the entrance written in Python takes 150 µs for each; this takes
 * three. It is a turnstile beside that entrance and no second one: it lets through what is in the common form and where nothing can be
 * sensitive, byte for byte as the entrance would, and hands everything else to it untouched. Whenever it is not certain, it is not
 * plain. (tests/core/test_turnstile.py and tests/fuzz/test_turnstile.py hold both against each other.)
 *
 * Plain is: Ethernet with up to four VLAN tags, IPv4 or IPv6 whole in one frame, UDP with its right checksum (or the sending kernel's
 * part of it), a map in CBOR of the agreed names (FORMAT.md) with fields one level deep, from a source the entrance has met, with names
 * the entrance has found harmless, and texts in which none of the finder's patterns (sensitive.py) can begin.
 *
 * Trusts nothing: a block may be any bytes. Every length is checked against what it lies in before it is used. Allocates for what it
 * hands out and for nothing else; what it learns has a ceiling. Sources: RFC 8949, RFC 1071, FIPS 180-4; block layout: drivers/tap.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_HEADER 48u
#define FRAME_HEADER 48u
#define PAYLOAD_MAX 65535u
#define ROW_MAX (PAYLOAD_MAX + 2048u) /* a row is a payload in a form never longer, and what is ours: identity, stamps, two names of 64 */
#define FIELDS_MAX 64u
#define NAMES_MAX 32u       /* agreed ones are thirteen */
#define WORD_MAX 95u
#define WORD_SLOTS 4096u    /* power of two; 384 KiB. A room's publishers use some hundred names */
#define SOURCE_SLOTS 1024u  /* power of two */
#define PROBES_MAX 16u      /* names chosen so that they collide are not learned; they cost no more than others */
#define VLANS_MAX 4
#define BRACKETS_MAX 160u   /* forty characters */
#define RUN_MIN 16u         /* letters and digits that may be bytes */
#define DRIFT_MILLIONTHS 100u /* of certificate.py; the test of the two holds them together */
#define YEAR_2000_TAI_NS 946684832000000000ll
#define AHEAD_NS_MAX 86400000000000ll
#define INT63 0x7fffffffffffffffull

static inline uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static inline uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }
static inline uint32_t ld32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint16_t ld16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }

struct bytes {
    const uint8_t *p;
    uint32_t n;
};

static inline int same(struct bytes a, const char *text) { return a.n == strlen(text) && memcmp(a.p, text, a.n) == 0; }

struct word {
    uint8_t n;
    uint8_t p[WORD_MAX];
};

struct source {
    uint8_t address_size; /* 0: free */
    uint8_t address[16];
    PyObject *address_text, *device;
    struct bytes name; /* the device's, in UTF-8; lives as long as `device` */
    int measured;      /* whether its clock is: the offset lay between low and high at that moment */
    int64_t low_ns, high_ns, at_ns;
    int noted; /* in this block: the stamp that was furthest ahead of its arrival */
    int64_t ahead_ns, stamp_ns, arrived_ns;
};

typedef struct {
    PyObject_HEAD
    uint8_t port[65536]; /* 0 to 4 the port's priority (0: the message says), 255 not ours */
    PyObject *events;    /* ((name, priority), …) */
    PyObject *refused;   /* kinds no device may claim */
    PyObject *event_words; /* lower case; a text without an event in which one of them stands is not plain. None: no such text is */
    struct bytes free_tail, locked_tail; /* of a device's stamp: source and state */
    PyObject *tails[2];
    uint64_t device_uncertainty_ns;
    int is_everybody, has_scales;
    int is_ascii; /* whether every sensitive name is */
    uint32_t words, sources;
    struct word *word;
    struct source *source;
    uint8_t *row;
} Turnstile;

/* ---- SHA-256 ----------------------------------------------------------------------------------------------------------------- */

/* Of a few hundred bytes, where the way to a library's function costs more than the digest. FIPS 180-4 §6.2. */
static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t turned(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void compress(uint32_t h[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = be32(block + 4 * i);
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7]
             + (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + rounds[i] + w[i];
        uint32_t b = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6];
        s[6] = s[5];
        s[5] = s[4];
        s[4] = s[3] + a;
        s[3] = s[2];
        s[2] = s[1];
        s[1] = s[0];
        s[0] = a + b;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

struct sha {
    uint32_t h[8];
    uint64_t n;
    uint8_t left[64];
};

static void sha_begin(struct sha *s)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, first, sizeof first);
    s->n = 0;
}

static void sha_add(struct sha *s, const uint8_t *p, size_t n)
{
    size_t have = s->n & 63;
    s->n += n;
    if (have && have + n >= 64) {
        memcpy(s->left + have, p, 64 - have);
        compress(s->h, s->left);
        p += 64 - have;
        n -= 64 - have;
        have = 0;
    }
    for (; n >= 64; p += 64, n -= 64)
        compress(s->h, p);
    memcpy(s->left + have, p, n);
}

/* The first sixteen bytes of the digest. */
static void sha_end(struct sha *s, uint8_t *out)
{
    uint64_t bits = s->n * 8;
    size_t have = s->n & 63;
    s->left[have++] = 0x80;
    if (have > 56) {
        memset(s->left + have, 0, 64 - have);
        compress(s->h, s->left);
        have = 0;
    }
    memset(s->left + have, 0, 56 - have);
    for (int i = 0; i < 8; i++)
        s->left[56 + i] = (uint8_t)(bits >> (56 - 8 * i));
    compress(s->h, s->left);
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- What was learned -------------------------------------------------------------------------------------------------------- */

static uint32_t hash(uint32_t h, struct bytes b)
{
    for (uint32_t i = 0; i < b.n; i++)
        h = (h ^ b.p[i]) * 16777619u; /* FNV-1a */
    return h;
}

/* `kind` and a word, or two of them: 'f' a field's harmless name; 'n' one in a text; 'p' a source's address and a process that is subscribed to. */
static struct word *word_slot(Turnstile *t, uint8_t kind, struct bytes a, struct bytes b, int *is_there)
{
    *is_there = 0;
    if (1 + a.n + b.n > WORD_MAX)
        return NULL;
    uint32_t at = hash(hash(hash(2166136261u, (struct bytes){&kind, 1}), a), b);
    for (uint32_t probe = 0; probe < PROBES_MAX; probe++) {
        struct word *w = t->word + ((at + probe) & (WORD_SLOTS - 1));
        if (w->n == 0)
            return w;
        if (w->n == 1 + a.n + b.n && w->p[0] == kind && memcmp(w->p + 1, a.p, a.n) == 0 && memcmp(w->p + 1 + a.n, b.p, b.n) == 0) {
            *is_there = 1;
            return w;
        }
    }
    return NULL;
}

static int knows(Turnstile *t, uint8_t kind, struct bytes a, struct bytes b)
{
    int is_there;
    word_slot(t, kind, a, b, &is_there);
    return is_there;
}

static void learn(Turnstile *t, uint8_t kind, struct bytes a, struct bytes b)
{
    int is_there;
    if (t->words >= WORD_SLOTS / 2) { /* Somebody makes up names: what is used is learned again in a moment. */
        memset(t->word, 0, WORD_SLOTS * sizeof *t->word);
        t->words = 0;
    }
    struct word *w = word_slot(t, kind, a, b, &is_there);
    if (w == NULL || is_there)
        return;
    w->n = (uint8_t)(1 + a.n + b.n);
    w->p[0] = kind;
    memcpy(w->p + 1, a.p, a.n);
    memcpy(w->p + 1 + a.n, b.p, b.n);
    t->words++;
}

static struct source *source_slot(Turnstile *t, struct bytes address, int *is_there)
{
    uint32_t at = hash(2166136261u, address);
    *is_there = 0;
    for (uint32_t probe = 0; probe < PROBES_MAX; probe++) {
        struct source *s = t->source + ((at + probe) & (SOURCE_SLOTS - 1));
        if (s->address_size == 0)
            return s;
        if (s->address_size == address.n && memcmp(s->address, address.p, address.n) == 0) {
            *is_there = 1;
            return s;
        }
    }
    return NULL;
}

static void forget(Turnstile *t)
{
    for (uint32_t i = 0; i < SOURCE_SLOTS; i++) {
        Py_CLEAR(t->source[i].address_text);
        Py_CLEAR(t->source[i].device);
    }
    memset(t->source, 0, SOURCE_SLOTS * sizeof *t->source);
    t->sources = 0;
}

/* ---- Texts ------------------------------------------------------------------------------------------------------------------- */

/* Whether it is UTF-8, and without the four letters beyond ASCII that a pattern which ignores case takes for i, s or k. */
static int is_text(struct bytes b)
{
    uint32_t i = 0;
    while (i < b.n) {
        uint8_t c = b.p[i];
        uint32_t more, point;
        if (c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf)
            more = 1, point = c & 31;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2, point = c & 15;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3, point = c & 7;
        else
            return 0;
        if (b.n - i <= more)
            return 0;
        for (uint32_t k = 1; k <= more; k++) {
            if ((b.p[i + k] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (b.p[i + k] & 63);
        }
        if ((more == 2 && (point < 0x800 || (point >= 0xd800 && point <= 0xdfff))) || (more == 3 && (point < 0x10000 || point > 0x10ffff)))
            return 0;
        if (point == 0x130 || point == 0x131 || point == 0x17f || point == 0x212a)
            return 0;
        i += more + 1;
    }
    return 1;
}

static inline uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; }
static inline int is_letter(uint8_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static inline int is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f); } /* Python's \s, in ASCII */
static inline int is_blank(uint8_t c) { return c == ' ' || c == '\t'; }
static inline int is_of_name(uint8_t c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c >= 0x80; }

static int is_token(struct bytes b)
{
    if (b.n == 0 || b.n > 64)
        return 0;
    for (uint32_t i = 0; i < b.n; i++)
        if (!is_letter(b.p[i]) && !(b.p[i] >= '0' && b.p[i] <= ':') && b.p[i] != '.' && b.p[i] != '_' && b.p[i] != '/' && b.p[i] != '-')
            return 0;
    return 1;
}

/* That ends here, with a number behind it perhaps: no name, or one that is known to be harmless. */
static int is_harmless_name(Turnstile *t, struct bytes b, uint32_t end)
{
    uint32_t begin;
    if (end) { /* Patient 1: the word before the number */
        uint32_t k = end;
        while (k && end - k < 5 && b.p[k - 1] >= '0' && b.p[k - 1] <= '9')
            k--;
        uint32_t digits = end - k;
        if (k && b.p[k - 1] == '#')
            k--;
        if (digits && digits < 5 && k && is_blank(b.p[k - 1])) {
            while (k && is_blank(b.p[k - 1]))
                k--;
            end = k;
        }
    }
    int letters = 0, beyond = 0, other = 0;
    for (begin = end; begin && is_of_name(b.p[begin - 1]); begin--) {
        letters |= is_letter(b.p[begin - 1]);
        beyond |= b.p[begin - 1] >= 0x80;
        other |= b.p[begin - 1] >= 0xc0 && (b.p[begin - 1] < 0xe4 || b.p[begin - 1] > 0xe9);
    }
    /* Some of it may be a letter, a space or a comma: a name that could begin in it is not judged here. Of ideographs alone (E4 to E9)
     * it is one only where the site has listed such names; others may be a listed one in another width. */
    if (beyond)
        return !letters && !other && t->is_ascii;
    if (begin && b.p[begin - 1] == '\\') /* `\nPatient` in a text that was quoted once */
        return 0;
    while (begin < end && (b.p[begin] == '_' || b.p[begin] == '.' || b.p[begin] == '-'))
        begin++;
    if (begin == end || !is_letter(b.p[begin]) || end - begin > 64)
        return 1;
    return knows(t, 'n', (struct bytes){b.p + begin, end - begin}, (struct bytes){b.p, 0});
}

/* Before the `:` or `=` at this place: no name, or one that is known to be harmless; the same within brackets before it, and before those. */
static int is_harmless_before(Turnstile *t, struct bytes b, uint32_t at)
{
    uint32_t end = at, begin;
    while (end && is_blank(b.p[end - 1]))
        end--;
    if (end == at && end && is_space(b.p[end - 1]))
        end--;
    if (end && b.p[end - 1] == '#') { /* MRN #: 4711 */
        while (--end && is_blank(b.p[end - 1]))
            ;
        return is_harmless_name(t, b, end);
    }
    if (end == 0 || (b.p[end - 1] != ')' && b.p[end - 1] != ']'))
        return is_harmless_name(t, b, end);
    if (!is_harmless_name(t, b, --end))
        return 0;
    for (begin = end; begin && end - begin <= BRACKETS_MAX; begin--) {
        uint8_t c = b.p[begin - 1];
        if (c == ')' || c == ']' || c == '\r' || c == '\n')
            return 1;
        if (c == '(' || c == '[')
            break;
    }
    if (begin == 0 || begin == end || end - begin > BRACKETS_MAX)
        return 1;
    for (begin--; begin && is_blank(b.p[begin - 1]); begin--)
        ;
    return is_harmless_name(t, b, begin);
}

static inline int is_hex(uint8_t c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); }

/* Whether from here on a number stands as behind its sign, with letters before it perhaps: # 4711, #A1, #SJ-4711. */
static int is_before_number(struct bytes b, uint32_t at)
{
    uint32_t letters;
    while (at < b.n && is_blank(b.p[at]))
        at++;
    if (at < b.n && b.p[at] >= 0x80) /* a blank or a digit of another script */
        return 1;
    for (letters = 0; at < b.n && letters < 4 && is_letter(b.p[at]); letters++)
        at++;
    if (letters && at < b.n && b.p[at] == '-')
        at++;
    return at < b.n && ((b.p[at] >= '0' && b.p[at] <= '9') || b.p[at] >= 0x80);
}

/* Whether what stands before this place ends as a directory of people's would: patient, practitioner, person, mrn, or several. */
static int ends_with_person(struct bytes b, uint32_t at)
{
    if (at && lower(b.p[at - 1]) == 's')
        at--;
    if (at >= 3 && lower(b.p[at - 3]) == 'm' && lower(b.p[at - 2]) == 'r' && lower(b.p[at - 1]) == 'n')
        return 1;
    if (at >= 3 && lower(b.p[at - 3]) == 's' && lower(b.p[at - 2]) == 'o' && lower(b.p[at - 1]) == 'n')
        return 1;
    if (at >= 3 && lower(b.p[at - 3]) == 'n' && lower(b.p[at - 2]) == 'e' && lower(b.p[at - 1]) == 'r')
        return 1;
    return at >= 3 && lower(b.p[at - 3]) == 'e' && lower(b.p[at - 2]) == 'n' && lower(b.p[at - 1]) == 't';
}

static inline uint32_t begins(struct bytes b, uint32_t at, const char *word, uint32_t n)
{
    if (b.n - at < n)
        return 0;
    for (uint32_t k = 1; k < n; k++) /* its first letter is known */
        if (lower(b.p[at + k]) != (uint8_t)word[k])
            return 0;
    return at + n;
}

#define BEGINS(word) begins(b, at, word, sizeof word - 1)

/* Whether the word that begins here is one behind which somebody may be named without a sign: MRN 4711, Patient Jane Doe admitted. */
static int may_name_somebody(struct bytes b, uint32_t at)
{
    uint32_t k = 0;
    int is_person = 0; /* behind it only capitals or quotation marks name somebody */
    switch (lower(b.p[at])) {
    case 'm':
        (void)((k = BEGINS("mrn")) || (k = BEGINS("medical")));
        break;
    case 's':
        (void)((k = BEGINS("ssn")) || (k = BEGINS("social")) || (is_person = (k = BEGINS("surgeon")) != 0));
        break;
    case 'b':
        (void)((k = BEGINS("born")) || (k = BEGINS("birth")));
        break;
    case 'd':
        k = BEGINS("dob");
        break;
    case 'a':
        (void)((k = BEGINS("accession")) || (k = BEGINS("admission")));
        break;
    case 'p':
        (void)((k = BEGINS("passport")) || (is_person = ((k = BEGINS("patient")) || (k = BEGINS("physician")))));
        break;
    case 'i':
        k = BEGINS("insurance");
    }
    if (k == 0)
        return 0;
    if (!is_person) { /* a word or a number must follow */
        while (k < b.n && is_blank(b.p[k]))
            k++;
        return k < b.n && (is_of_name(b.p[k]) || b.p[k] == '/' || b.p[k] == '\'');
    }
    if (k < b.n && lower(b.p[k]) == 's')
        k++;
    while (k < b.n && (is_blank(b.p[k]) || b.p[k] == '_' || b.p[k] == '-'))
        k++;
    if (k == b.n)
        return 0;
    uint8_t c = b.p[k], d = k + 1 < b.n ? lower(b.p[k + 1]) : 0;
    if (c >= 'a' && c <= 'z') /* patient side cart, but patient id and patient no */
        return (c == 'i' && d == 'd') || (c == 'n' && (d == 'o' || d == 'u' || d == 'r'));
    return (c >= 'A' && c <= 'Z') || c == '"' || c == '\'' || c >= 0x80;
}

static inline int is_of_run(uint8_t c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '+'; }

/* Whether a run of letters and digits may be bytes in base64 or hexadecimal. */
static int is_encoded(struct bytes b)
{
    int small = 0, capital = 0, digit = 0, hex = 1, hex_letter = 0;
    if (b.n >= 18 && b.p[0] == '0' && b.p[1] == 'x' && is_encoded((struct bytes){b.p + 2, b.n - 2}))
        return 1;
    for (uint32_t i = 0; i < b.n; i++) {
        uint8_t c = b.p[i];
        small |= c >= 'a' && c <= 'z';
        capital |= c >= 'A' && c <= 'Z';
        digit |= c >= '0' && c <= '9';
        hex &= is_hex(c);
        hex_letter |= is_letter(c);
    }
    return (hex && hex_letter) || (b.n >= 20 && small && capital && digit);
}

/* Whether none of the patterns of sensitive.py can find anything in it. Each needs one of the characters looked for here. */
static int is_plain(Turnstile *t, struct bytes b)
{
    uint32_t i = 0, run = 0;
    int separated = 0;
    if (!is_text(b))
        return 0;
    while (i < b.n && (b.p[i] <= 0x20 || b.p[i] >= 0x80))
        i++;
    if (b.n - i >= 3) { /* HL7 begins so: MSH, FHS, BHS */
        uint8_t x = lower(b.p[i]), y = lower(b.p[i + 1]), z = lower(b.p[i + 2]);
        if ((x == 'm' && y == 's' && z == 'h') || ((x == 'f' || x == 'b') && y == 'h' && z == 's'))
            return 0;
    }
    for (i = 0; i < b.n; i++) {
        if (is_of_run(b.p[i])) {
            if ((run == 0 || b.p[i - 1] == '+') && may_name_somebody(b, i))
                return 0;
            run++;
            if (run >= RUN_MIN && (i + 1 == b.n || !is_of_run(b.p[i + 1])) && is_encoded((struct bytes){b.p + i + 1 - run, run}))
                return 0;
        } else {
            run = 0;
        }
        switch (b.p[i]) {
        case '|':
        case '^':
        case '<':
        case 0x1b:
        case 0:
            return 0;
        case ',': /* a line of a table, perhaps of names of columns */
        case ';':
        case '\t':
            separated = 1;
            break;
        case '\n':
            if (separated)
                return 0;
            break;
        case ')': { /* INSERT INTO t (mrn) VALUES */
            uint32_t k = i + 1;
            while (k < b.n && is_space(b.p[k]))
                k++;
            if (k < b.n && (lower(b.p[k]) == 'v' || b.p[k] >= 0x80))
                return 0;
            break;
        }
        case '&': { /* &lt; */
            uint32_t k = i + 1;
            while (k < b.n && k < i + 34 && (is_letter(b.p[k]) || b.p[k] == '#' || (b.p[k] >= '0' && b.p[k] <= '9')))
                k++;
            if (k < b.n && k > i + 1 && b.p[k] == ';')
                return 0;
            break;
        }
        case '+': /* patient+id=4711 */
            if (i && i + 1 < b.n && is_letter(b.p[i - 1]) && is_letter(b.p[i + 1]))
                return 0;
            break;
        case '%': /* encoded, as in addresses of the web */
            if (b.n - i > 2 && is_hex(b.p[i + 1]) && is_hex(b.p[i + 2]))
                return 0;
            break;
        case '\\': /* a path of files, that may lead to somebody, or a letter by its number */
            if (ends_with_person(b, i) || (i + 1 < b.n && (lower(b.p[i + 1]) == 'u' || lower(b.p[i + 1]) == 'x')))
                return 0;
            break;
        case '(': { /* (0010,0010), an element of DICOM */
            uint32_t k = i + 1;
            while (k < b.n && k < i + 5 && is_hex(b.p[k]))
                k++;
            if (k == i + 5 && k < b.n && b.p[k] == ',')
                return 0;
            break;
        }
        case '#':
            if (i + 1 < b.n && lower(b.p[i + 1]) == 'p')
                return 0;
            if (is_before_number(b, i + 1) && !is_harmless_before(t, b, i))
                return 0;
            break;
        case '/':
            if (i >= 4 && lower(b.p[i - 4]) == 'f' && lower(b.p[i - 3]) == 'h' && lower(b.p[i - 2]) == 'i' && lower(b.p[i - 1]) == 'r')
                return 0;
            if ((i >= 4 && memcmp(b.p + i - 4, "1999", 4) == 0) || ends_with_person(b, i))
                return 0;
            break;
        case '"':
        case '\'': {
            uint32_t k = i + 1;
            while (k < b.n && is_space(b.p[k]))
                k++;
            if (k < b.n && (b.p[k] == ':' || b.p[k] == '=' || b.p[k] >= 0x80))
                return 0;
            break;
        }
        case 0xef: /* both signs in the width of Chinese ones */
            if (b.n - i > 2 && b.p[i + 1] == 0xbc && (b.p[i + 2] == 0x9a || b.p[i + 2] == 0x9d))
                return 0;
            break;
        case ':':
        case '=':
            if (b.n - i > 2 && b.p[i + 1] == '/' && b.p[i + 2] == '/') /* https:// */
                break;
            if (!is_harmless_before(t, b, i))
                return 0;
        }
    }
    return 1;
}

/* Whether a text may tell of an event: one of the site's words stands in it, in any case. */
static int may_tell(Turnstile *t, struct bytes b)
{
    if (t->event_words == Py_None)
        return 1;
    for (Py_ssize_t w = 0; w < PyTuple_GET_SIZE(t->event_words); w++) {
        PyObject *word = PyTuple_GET_ITEM(t->event_words, w);
        const uint8_t *p = (const uint8_t *)PyBytes_AS_STRING(word);
        size_t n = (size_t)PyBytes_GET_SIZE(word), k;
        for (size_t i = 0; i + n <= b.n; i++) {
            for (k = 0; k < n && lower(b.p[i + k]) == p[k]; k++)
                ;
            if (k == n)
                return 1;
        }
    }
    return 0;
}

/* ---- CBOR -------------------------------------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *p;
    uint32_t n, at;
};

/* Major type and value of the next head; 0 where it is cut off, reserved or of indefinite length. */
static int head(struct reader *r, uint8_t *major, uint8_t *info, uint64_t *value)
{
    if (r->at >= r->n)
        return 0;
    uint8_t first = r->p[r->at++];
    *major = first >> 5;
    *info = first & 31;
    *value = *info;
    if (*info < 24)
        return 1;
    if (*info > 27)
        return 0;
    uint32_t size = 1u << (*info - 24);
    if (r->n - r->at < size)
        return 0;
    const uint8_t *p = r->p + r->at;
    *value = size == 1 ? p[0] : size == 2 ? be16(p) : size == 4 ? be32(p) : be64(p);
    r->at += size;
    return 1;
}

static int text_of(struct reader *r, uint64_t size, struct bytes *b)
{
    if (size > r->n - r->at)
        return 0;
    *b = (struct bytes){r->p + r->at, (uint32_t)size};
    r->at += (uint32_t)size;
    return 1;
}

static uint8_t *put_head(uint8_t *o, uint8_t major, uint64_t value)
{
    uint8_t size = value < 24 ? 0 : value < 1u << 8 ? 1 : value < 1u << 16 ? 2 : value <= 0xffffffffu ? 4 : 8;
    if (size == 0) {
        *o++ = (uint8_t)(major << 5 | value);
        return o;
    }
    *o++ = (uint8_t)(major << 5 | (size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27));
    for (int i = size - 1; i >= 0; i--)
        *o++ = (uint8_t)(value >> (8 * i));
    return o;
}

static uint8_t *put(uint8_t *o, struct bytes b)
{
    memcpy(o, b.p, b.n);
    return o + b.n;
}

static uint8_t *put_text(uint8_t *o, struct bytes b) { return put(put_head(o, 3, b.n), b); }

static uint8_t *put_integer(uint8_t *o, int64_t value)
{
    return value >= 0 ? put_head(o, 0, (uint64_t)value) : put_head(o, 1, (uint64_t)(-1 - value));
}

/* The shortest of the three forms that says the same (RFC 8949 §4.2.2); what is no number becomes null, as in said.py. */
static uint8_t *put_float(uint8_t *o, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, 8);
    double size = fabs(d);
    uint16_t sign = (uint16_t)(bits >> 63 << 15);
    int has_half = 0;
    uint16_t half = 0;
    if (isnan(d)) {
        *o++ = 0xf6;
        return o;
    }
    if (size == 0 || isinf(d)) {
        half = sign | (size == 0 ? 0 : 0x7c00);
        has_half = 1;
    } else if (size >= 0x1p-14 && size <= 65504) {
        half = (uint16_t)(sign | ((bits >> 52 & 0x7ff) - 1023 + 15) << 10 | (bits >> 42 & 0x3ff));
        has_half = !(bits & ((1ull << 42) - 1));
    } else if (size < 0x1p-14) {
        double many = size * 0x1p24;
        half = (uint16_t)(sign | (uint16_t)many);
        has_half = many == floor(many);
    }
    if (has_half) {
        *o++ = 0xf9;
        *o++ = (uint8_t)(half >> 8);
        *o++ = (uint8_t)half;
        return o;
    }
    float single = size <= 0x1.fffffep127 ? (float)d : 0;
    if ((double)single == d) {
        uint32_t word;
        memcpy(&word, &single, 4);
        *o++ = 0xfa;
        for (int i = 3; i >= 0; i--)
            *o++ = (uint8_t)(word >> (8 * i));
        return o;
    }
    *o++ = 0xfb;
    for (int i = 7; i >= 0; i--)
        *o++ = (uint8_t)(bits >> (8 * i));
    return o;
}

static double float_of(uint8_t info, uint64_t value)
{
    if (info == 27) {
        double d;
        memcpy(&d, &value, 8);
        return d;
    }
    if (info == 26) {
        float f;
        uint32_t word = (uint32_t)value;
        memcpy(&f, &word, 4);
        return f;
    }
    int exponent = (int)(value >> 10 & 31), mantissa = (int)(value & 0x3ff);
    double d = exponent == 0 ? ldexp(mantissa, -24) : exponent != 31 ? ldexp(mantissa + 1024, exponent - 25) : mantissa ? NAN : INFINITY;
    return value & 0x8000 ? -d : d;
}

/* ---- Messages ---------------------------------------------------------------------------------------------------------------- */

struct field {
    struct bytes name, text; /* text.p NULL: `value` is the whole value, packed */
    uint8_t value[9], size;
};

struct said {
    struct bytes process, kind, event, text, device, clock;
    int has_sequence, has_utc, has_tai, has_severity;
    uint64_t sequence, utc_ns, tai_ns;
    uint8_t severity, priority;
    uint32_t fields;
    struct field field[FIELDS_MAX];
};

static int add_field(struct said *s, struct bytes name, struct bytes text)
{
    if (s->fields == FIELDS_MAX)
        return 0;
    s->field[s->fields++] = (struct field){name, text, {0}, 0};
    return 1;
}

/* A value one level deep. */
static int read_field(struct reader *r, struct said *s, struct bytes name)
{
    uint8_t major, info;
    uint64_t value;
    if (!head(r, &major, &info, &value) || !add_field(s, name, (struct bytes){NULL, 0}))
        return 0;
    struct field *f = s->field + s->fields - 1;
    uint8_t *o = f->value;
    if (major == 3)
        return text_of(r, value, &f->text);
    if (major == 0 && value <= INT63)
        o = put_head(o, 0, value);
    else if (major == 1 && value <= INT63 - 1) /* of equal size with either sign */
        o = put_head(o, 1, value);
    else if (major == 7 && info >= 20 && info <= 22)
        *o++ = (uint8_t)(0xe0 | info);
    else if (major == 7 && info >= 25)
        o = put_float(o, float_of(info, value));
    else
        return 0;
    f->size = (uint8_t)(o - f->value);
    return 1;
}

static int read_fields(struct reader *r, struct said *s, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint8_t major, info;
        uint64_t value;
        struct bytes name;
        if (!head(r, &major, &info, &value) || major != 3 || !text_of(r, value, &name) || !read_field(r, s, name))
            return 0;
    }
    return 1;
}

static const struct {
    const char *name;
    uint8_t severity;
} severities[] = {
    {"emergency", 0}, {"emerg", 0}, {"panic", 0}, {"fatal", 2}, {"alert", 1}, {"critical", 2}, {"crit", 2}, {"error", 3}, {"err", 3},
    {"warning", 4}, {"warn", 4}, {"notice", 5}, {"event", 5}, {"status", 6}, {"informational", 6}, {"info", 6}, {"debug", 7}, {"trace", 7},
};

enum { SEEN_VERSION = 1, SEEN_PROCESS = 2, SEEN_SEQUENCE = 4, SEEN_SEVERITY = 8, SEEN_PRIORITY = 16, SEEN_KIND = 32, SEEN_EVENT = 64,
       SEEN_UTC = 128, SEEN_TAI = 256, SEEN_CLOCK = 512, SEEN_DEVICE = 1024, SEEN_TEXT = 2048, SEEN_FIELDS = 4096 };

static const struct {
    const char *name;
    uint32_t seen;
} names[] = {
    {"version", SEEN_VERSION}, {"process", SEEN_PROCESS}, {"sequence", SEEN_SEQUENCE}, {"severity", SEEN_SEVERITY},
    {"priority", SEEN_PRIORITY}, {"kind", SEEN_KIND}, {"event", SEEN_EVENT}, {"time_utc_ns", SEEN_UTC}, {"time_tai_ns", SEEN_TAI},
    {"clock", SEEN_CLOCK}, {"device", SEEN_DEVICE}, {"text", SEEN_TEXT}, {"fields", SEEN_FIELDS},
};

/* One agreed name with its value; 0 where the value is not what it should be: then the entrance decides what that means. */
static int read_agreed(struct reader *r, struct said *s, uint32_t name)
{
    uint8_t major, info;
    uint64_t value;
    struct bytes text = {NULL, 0};
    if (!head(r, &major, &info, &value))
        return 0;
    if (major == 7 && info == 22 && name != SEEN_VERSION)
        return 1;
    if (major == 3 && !text_of(r, value, &text))
        return 0;
    int is_integer = major == 0 && value <= INT63;
    switch (name) {
    case SEEN_VERSION:
        return is_integer && value == 1;
    case SEEN_SEQUENCE:
        s->sequence = value;
        return s->has_sequence = is_integer;
    case SEEN_UTC:
        s->utc_ns = value;
        return s->has_utc = is_integer;
    case SEEN_TAI:
        s->tai_ns = value;
        return s->has_tai = is_integer;
    case SEEN_PRIORITY:
        s->priority = (uint8_t)value;
        return is_integer && value >= 1 && value <= 4;
    case SEEN_SEVERITY:
        for (size_t i = 0; text.p != NULL && i < sizeof severities / sizeof *severities; i++)
            if (same(text, severities[i].name)) {
                s->severity = severities[i].severity;
                return s->has_severity = 1;
            }
        s->severity = (uint8_t)value;
        return s->has_severity = is_integer && value <= 7;
    case SEEN_FIELDS:
        return major == 5 && read_fields(r, s, value);
    case SEEN_PROCESS:
        s->process = text;
        return text.p != NULL && is_token(text);
    case SEEN_KIND:
        s->kind = text;
        return text.p != NULL && is_token(text);
    case SEEN_EVENT:
        s->event = text;
        return text.p != NULL && is_token(text);
    case SEEN_CLOCK:
        s->clock = text;
        return text.p != NULL;
    case SEEN_DEVICE:
        s->device = text;
        return text.p != NULL;
    default:
        s->text = text;
        return text.p != NULL;
    }
}

static int read_said(struct reader *r, struct said *s)
{
    uint8_t major, info;
    uint64_t count, value;
    uint32_t seen = 0;
    memset(s, 0, offsetof(struct said, field));
    if (r->n >= 3 && memcmp(r->p, "\xd9\xd9\xf7", 3) == 0)
        r->at = 3;
    if (!head(r, &major, &info, &count) || major != 5 || count > NAMES_MAX + FIELDS_MAX)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        struct bytes name;
        uint32_t agreed = 0;
        if (!head(r, &major, &info, &value) || major != 3 || !text_of(r, value, &name))
            return 0;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (same(name, names[k].name))
                agreed = names[k].seen;
        if (seen & agreed || same(name, "time") || same(name, "attachment"))
            return 0;
        seen |= agreed;
        if (agreed ? !read_agreed(r, s, agreed) : !read_field(r, s, name))
            return 0;
    }
    return r->at == r->n;
}

/* Canonical order of names (RFC 8949 §4.2.3 and .1 agree on texts): the shorter first. 0 where two are the same. */
static int order(struct said *s)
{
    for (uint32_t i = 1; i < s->fields; i++) {
        struct field f = s->field[i];
        uint32_t k = i;
        for (; k; k--) {
            const struct bytes a = s->field[k - 1].name;
            int later = a.n != f.name.n ? (a.n > f.name.n ? 1 : -1) : memcmp(a.p, f.name.p, a.n);
            if (later == 0)
                return 0;
            if (later < 0)
                break;
            s->field[k] = s->field[k - 1];
        }
        s->field[k] = f;
    }
    return 1;
}

static int is_known_harmless(Turnstile *t, const struct said *s)
{
    for (uint32_t i = 0; i < s->fields; i++) {
        const struct field *f = s->field + i;
        if (t->has_scales && same(f->name, "claimed_priority"))
            return 0;
        if (f->name.n == 0 || !knows(t, 'f', f->name, (struct bytes){f->name.p, 0}) || (f->text.p != NULL && !is_plain(t, f->text)))
            return 0;
    }
    return 1;
}

static int is_refused(Turnstile *t, struct bytes kind)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(t->refused); i++) {
        PyObject *one = PyTuple_GET_ITEM(t->refused, i);
        if ((uint32_t)PyBytes_GET_SIZE(one) == kind.n && memcmp(PyBytes_AS_STRING(one), kind.p, kind.n) == 0)
            return 1;
    }
    return 0;
}

/* priority.py's rule. */
static uint8_t priority_of(Turnstile *t, const struct said *s, uint8_t port)
{
    static const uint8_t by_severity[8] = {1, 1, 1, 1, 2, 3, 3, 4};
    for (Py_ssize_t i = 0; s->event.p != NULL && i < PyTuple_GET_SIZE(t->events); i++) {
        PyObject *pair = PyTuple_GET_ITEM(t->events, i), *name = PyTuple_GET_ITEM(pair, 0);
        if ((uint32_t)PyBytes_GET_SIZE(name) == s->event.n && memcmp(PyBytes_AS_STRING(name), s->event.p, s->event.n) == 0) {
            uint8_t listed = (uint8_t)PyLong_AsLong(PyTuple_GET_ITEM(pair, 1));
            return s->priority && s->priority < listed ? s->priority : listed;
        }
    }
    return s->priority ? s->priority : port ? port : s->has_severity ? by_severity[s->severity] : 4;
}

struct moment {
    int64_t stamp_utc_ns, offset_ns;
    struct bytes received_tail, arrival_tail; /* of the two stamps: uncertainty, source, state */
};

/* The offset's furthest edge, wider by the drift since it was measured; 0 when that is too long ago for these integers. */
static int uncertainty_of(const struct source *from, int64_t received_ns, uint64_t *ns)
{
    uint64_t since = received_ns > from->at_ns ? (uint64_t)received_ns - (uint64_t)from->at_ns : (uint64_t)from->at_ns - (uint64_t)received_ns;
    if (since >= 1ull << 56 || from->low_ns > (1ll << 60) || from->low_ns < -(1ll << 60) || from->high_ns > (1ll << 60) || from->high_ns < -(1ll << 60))
        return 0;
    int64_t slack = (int64_t)(since * DRIFT_MILLIONTHS / 1000000u), low = from->low_ns - slack, high = from->high_ns + slack;
    uint64_t below = (uint64_t)(low < 0 ? -low : low), above = (uint64_t)(high < 0 ? -high : high);
    *ns = below > above ? below : above;
    return 1;
}

struct made {
    uint8_t key[16], priority;
    size_t size; /* of t->row */
};

/* The message as a batch of one, and its key; 0 where it is not plain. */
static int made_of(Turnstile *t, struct bytes payload, uint8_t port, struct source *from, const struct moment *m, struct made *made)
{
    struct said s;
    struct reader r = {payload.p, payload.n, 0};
    if (!read_said(&r, &s) || (t->has_scales && s.priority))
        return 0;
    if (s.clock.p != NULL && !add_field(&s, (struct bytes){(const uint8_t *)"claimed_clock", 13}, s.clock))
        return 0;
    if (s.device.p != NULL && (s.device.n != from->name.n || memcmp(s.device.p, from->name.p, s.device.n) != 0)
        && !add_field(&s, (struct bytes){(const uint8_t *)"claimed_device", 14}, s.device))
        return 0;
    if (s.process.p == NULL)
        s.process = (struct bytes){(const uint8_t *)"unknown", 7};
    if (s.kind.p == NULL)
        s.kind = (struct bytes){(const uint8_t *)"published", 9};
    if (is_refused(t, s.kind) || !order(&s) || !is_known_harmless(t, &s) || (s.text.p != NULL && !is_plain(t, s.text)))
        return 0;
    if (s.event.p == NULL && s.text.p != NULL && may_tell(t, s.text))
        return 0;
    if (!t->is_everybody && !knows(t, 'p', (struct bytes){from->address, from->address_size}, s.process))
        return 0;

    int64_t received = m->stamp_utc_ns + m->offset_ns, origin = received;
    int is_claimed = s.has_tai || s.has_utc;
    uint8_t stamp[160], *o = stamp; /* what stands behind the origin's moment */
    if (is_claimed) {
        if (!s.has_tai && m->offset_ns > 0 && s.utc_ns > INT63 - (uint64_t)m->offset_ns)
            return 0;
        origin = s.has_tai ? (int64_t)s.tai_ns : (int64_t)s.utc_ns + m->offset_ns;
        if (origin < YEAR_2000_TAI_NS || origin > received + AHEAD_NS_MAX)
            return 0;
        uint64_t uncertainty = t->device_uncertainty_ns;
        if (from->measured && !uncertainty_of(from, received, &uncertainty))
            return 0;
        o = put(put_head(o, 0, uncertainty), from->measured ? t->locked_tail : t->free_tail);
    } else {
        o = put(o, m->arrival_tail);
    }
    size_t stamp_size = (size_t)(o - stamp);

    made->priority = priority_of(t, &s, port);
    static const uint8_t severity_of[5] = {0, 3, 4, 6, 7};
    uint64_t count = 6 + (s.has_sequence != 0) + (s.event.p != NULL) + (s.text.p != NULL) + (s.fields != 0);
    /* The row from behind its identity on; what identity covers is written once and hashed where it lies. */
    uint8_t *row = t->row, *who = row + 64;
    o = put_text(put_head(who, 0, 2), from->name);
    o = put_text(put_head(o, 0, 3), s.process);
    if (s.has_sequence)
        o = put_head(put_head(o, 0, 4), 0, s.sequence);
    o = put_text(put_head(o, 0, 5), s.kind);
    o = put_head(put_head(o, 0, 6), 0, made->priority);
    o = put_head(put_head(o, 0, 7), 0, s.has_severity ? s.severity : severity_of[made->priority]);
    if (s.event.p != NULL)
        o = put_text(put_head(o, 0, 8), s.event);
    uint8_t *who_end = o, when[10], *when_end;
    when[0] = 9;
    when_end = put_integer(when + 1, origin);
    *o++ = 9;
    *o++ = 0x84;
    o = put_integer(o, origin);
    o = put(o, (struct bytes){stamp, (uint32_t)stamp_size});
    *o++ = 10;
    *o++ = 0x84;
    o = put(put_integer(o, received), m->received_tail);
    uint8_t *what = o;
    if (s.text.p != NULL)
        o = put_text(put_head(o, 0, 11), s.text);
    if (s.fields) {
        o = put_head(put_head(o, 0, 12), 5, s.fields);
        for (uint32_t i = 0; i < s.fields; i++) {
            const struct field *f = s.field + i;
            o = put_text(o, f->name);
            o = f->text.p != NULL ? put_text(o, f->text) : put(o, (struct bytes){f->value, f->size});
        }
    }
    uint8_t first[9], identity[16], *first_end = put_head(first, 5, count);
    struct sha sha;
    sha_begin(&sha);
    sha_add(&sha, first, (size_t)(first_end - first));
    sha_add(&sha, who, (size_t)(who_end - who));
    struct sha without_time = sha;
    sha_add(&sha, when, (size_t)(when_end - when));
    sha_add(&sha, what, (size_t)(o - what));
    sha_end(&sha, identity);
    memcpy(made->key, identity, 16);
    if (!is_claimed && s.has_sequence) { /* as entrance.entry_of: known by its count, whenever a copy of it comes */
        sha_add(&without_time, (const uint8_t *)"\x09", 2);
        sha_add(&without_time, what, (size_t)(o - what));
        sha_end(&without_time, made->key);
    }
    uint8_t begin[32], *b = begin;
    *b++ = 0x81;
    b = put_head(b, 5, count + 3);
    memcpy(b, "\x00\x01\x01\x50", 4);
    b += 4;
    memcpy(b, identity, 16);
    b += 16;
    size_t front = (size_t)(b - begin);
    memcpy(who - front, begin, front);
    made->size = front + (size_t)(o - who);
    memmove(row, who - front, made->size);
    if (is_claimed && (!from->noted || origin - received > from->ahead_ns)) {
        from->noted = 1;
        from->ahead_ns = origin - received;
        from->stamp_ns = origin;
        from->arrived_ns = received;
    }
    return 1;
}

/* ---- Frames ------------------------------------------------------------------------------------------------------------------ */

struct datagram {
    struct bytes source, payload;
    uint16_t port;
};

/* The sum of 16-bit words in ones' complement, not yet folded. */
static uint64_t sum(const uint8_t *p, uint32_t n)
{
    uint64_t total = 0;
    for (; n >= 4; p += 4, n -= 4)
        total += be32(p);
    if (n >= 2)
        total += be16(p), p += 2, n -= 2;
    return n ? total + ((uint32_t)p[0] << 8) : total;
}

/* A whole UDP datagram that is what was sent. frame.py and checksum.py, for what is in order. */
static int datagram_of(const uint8_t *m, uint32_t n, struct datagram *d)
{
    if (n < 14)
        return 0;
    uint32_t at = 14, end, addresses;
    uint16_t ethertype = be16(m + 12);
    for (int depth = 0; (ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100) && depth < VLANS_MAX && n - at >= 4; depth++) {
        ethertype = be16(m + at + 2);
        at += 4;
    }
    if (ethertype == 0x0800 && n - at >= 20 && m[at] >> 4 == 4) {
        uint32_t header = (m[at] & 15) * 4u, total = be16(m + at + 2);
        if (header < 20 || total < header + 8 || total > n - at || be16(m + at + 6) & 0x3fff || m[at + 9] != 17)
            return 0;
        d->source = (struct bytes){m + at + 12, 4};
        addresses = at + 12;
        end = at + total;
        at += header;
    } else if (ethertype == 0x86dd && n - at >= 40 && m[at] >> 4 == 6) {
        uint32_t length_ = be16(m + at + 4);
        if (length_ < 8 || length_ > n - at - 40 || m[at + 6] != 17)
            return 0;
        d->source = (struct bytes){m + at + 8, 16};
        addresses = at + 8;
        at += 40;
        end = at + length_;
    } else {
        return 0;
    }
    uint32_t size = be16(m + at + 4), stored = be16(m + at + 6);
    if (size <= 8 || size > end - at)
        return 0;
    if (stored || d->source.n == 16) {
        uint64_t pseudo = sum(m + addresses, 2 * d->source.n) + size + 17;
        if ((sum(m + at, size) + pseudo) % 0xffff != 0 && stored % 0xffff != pseudo % 0xffff)
            return 0;
    }
    d->port = be16(m + at + 2);
    d->payload = (struct bytes){m + at + 8, size - 8};
    return 1;
}

/* The row of one frame, plain or not. */
static PyObject *row_of(Turnstile *t, const uint8_t *m, uint32_t n, uint32_t wire, struct moment *moment)
{
    struct datagram d;
    struct made made;
    struct source *from;
    int is_there = 0;
    if (n == wire && datagram_of(m, n, &d) && t->port[d.port] != 255
        && (from = source_slot(t, d.source, &is_there)) != NULL && is_there
        && made_of(t, d.payload, t->port[d.port], from, moment, &made))
        return Py_BuildValue("(Oiy#y#L)", from->device, (int)made.priority, made.key, (Py_ssize_t)16, t->row, (Py_ssize_t)made.size,
                             (long long)moment->stamp_utc_ns);
    return Py_BuildValue("(OIy#y#L)", Py_None, (unsigned)wire, m, (Py_ssize_t)n, "", (Py_ssize_t)0, (long long)moment->stamp_utc_ns);
}

/* Clears what was noted, and lists it. */
static PyObject *noted(Turnstile *t)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < SOURCE_SLOTS; i++) {
        struct source *s = t->source + i;
        if (!s->noted)
            continue;
        s->noted = 0;
        PyObject *one = Py_BuildValue("(OLL)", s->address_text, (long long)s->stamp_ns, (long long)s->arrived_ns);
        if (one == NULL || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *hear(Turnstile *t, PyObject *args)
{
    Py_buffer block, received_tail, arrival_tail;
    unsigned long long frame_count;
    long long offset_ns;
    if (!PyArg_ParseTuple(args, "y*KLy*y*", &block, &frame_count, &offset_ns, &received_tail, &arrival_tail))
        return NULL;
    PyObject *rows = NULL, *notes = NULL, *result = NULL;
    const uint8_t *b = block.buf;
    uint64_t size = (uint64_t)block.len, at = 0, used = 0, heard = 0;
    int sound = size >= BLOCK_HEADER;
    if (received_tail.len > 100 || arrival_tail.len > 100 || offset_ns > 1ll << 50 || offset_ns < -(1ll << 50)) {
        PyErr_SetString(PyExc_ValueError, "expected a clock's offset below 13 days, and stamps of at most 100 bytes");
        goto out;
    }
    if ((rows = PyList_New(0)) == NULL)
        goto out;
    struct moment moment = {0, offset_ns, {received_tail.buf, (uint32_t)received_tail.len}, {arrival_tail.buf, (uint32_t)arrival_tail.len}};
    if (sound) {
        at = ld32(b + 16);
        used = ld32(b + 20);
        used = used < size ? used : size;
    }
    for (; sound && heard < frame_count; heard++) {
        if (at > used || used - at < FRAME_HEADER) {
            sound = 0;
            break;
        }
        const uint8_t *h = b + at;
        uint32_t following = ld32(h), captured = ld32(h + 12), wire = ld32(h + 16), mac = ld16(h + 24);
        if (mac < FRAME_HEADER || used - at < (uint64_t)mac + captured) {
            sound = 0;
            break;
        }
        moment.stamp_utc_ns = (int64_t)ld32(h + 4) * 1000000000ll + ld32(h + 8);
        PyObject *row = row_of(t, h + mac, captured, wire, &moment);
        if (row == NULL || PyList_Append(rows, row) < 0) {
            Py_XDECREF(row);
            goto out;
        }
        Py_DECREF(row);
        if (frame_count - heard > 1 && following < FRAME_HEADER) {
            heard++;
            sound = 0;
            break;
        }
        at += following;
    }
    if ((notes = noted(t)) == NULL)
        goto out;
    result = Py_BuildValue("OOO", rows, notes, sound ? Py_True : Py_False);
out:
    Py_XDECREF(rows);
    Py_XDECREF(notes);
    PyBuffer_Release(&block);
    PyBuffer_Release(&received_tail);
    PyBuffer_Release(&arrival_tail);
    return result;
}

static PyObject *learn_harmless(Turnstile *t, uint8_t kind, PyObject *args)
{
    struct bytes name;
    const char *p;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "y#", &p, &n))
        return NULL;
    name = (struct bytes){(const uint8_t *)p, (uint32_t)(n < 1000 ? n : 1000)};
    learn(t, kind, name, (struct bytes){name.p, 0});
    Py_RETURN_NONE;
}

static PyObject *learn_field(Turnstile *t, PyObject *args) { return learn_harmless(t, 'f', args); }

static PyObject *learn_name(Turnstile *t, PyObject *args) { return learn_harmless(t, 'n', args); }

static PyObject *learn_process(Turnstile *t, PyObject *args)
{
    const char *a, *b;
    Py_ssize_t m, n;
    if (!PyArg_ParseTuple(args, "y#y#", &a, &m, &b, &n))
        return NULL;
    if (m <= 16 && n <= 64)
        learn(t, 'p', (struct bytes){(const uint8_t *)a, (uint32_t)m}, (struct bytes){(const uint8_t *)b, (uint32_t)n});
    Py_RETURN_NONE;
}

static PyObject *learn_source(Turnstile *t, PyObject *args)
{
    const char *address;
    Py_ssize_t size, name_size;
    PyObject *text, *device;
    int measured, is_there;
    long long low, high, at;
    if (!PyArg_ParseTuple(args, "y#UUpLLL", &address, &size, &text, &device, &measured, &low, &high, &at))
        return NULL;
    const char *name = PyUnicode_AsUTF8AndSize(device, &name_size);
    if (name == NULL)
        return NULL;
    if ((size != 4 && size != 16) || name_size > 64) {
        PyErr_SetString(PyExc_ValueError, "expected an address of 4 or 16 bytes and a name of at most 64");
        return NULL;
    }
    if (t->sources >= SOURCE_SLOTS / 2)
        forget(t);
    struct source *s = source_slot(t, (struct bytes){(const uint8_t *)address, (uint32_t)size}, &is_there);
    if (s != NULL) {
        t->sources += !is_there;
        s->address_size = (uint8_t)size;
        memcpy(s->address, address, (size_t)size);
        Py_XSETREF(s->address_text, Py_NewRef(text));
        Py_XSETREF(s->device, Py_NewRef(device));
        s->name = (struct bytes){(const uint8_t *)name, (uint32_t)name_size};
        s->measured = measured;
        s->low_ns = low;
        s->high_ns = high;
        s->at_ns = at;
    }
    Py_RETURN_NONE;
}

static PyObject *forget_sources(Turnstile *t, PyObject *Py_UNUSED(ignored))
{
    forget(t);
    Py_RETURN_NONE;
}

static int are_bytes(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        if (!PyBytes_Check(PyTuple_GET_ITEM(tuple, i)))
            return 0;
    return 1;
}

static int are_events(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *pair = PyTuple_GET_ITEM(tuple, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyBytes_Check(PyTuple_GET_ITEM(pair, 0)))
            return 0;
        long priority = PyLong_AsLong(PyTuple_GET_ITEM(pair, 1));
        if (priority < 1 || priority > 4)
            return 0;
    }
    return 1;
}

static int take_ports(Turnstile *t, PyObject *ports)
{
    PyObject *port, *priority;
    Py_ssize_t at = 0;
    memset(t->port, 255, sizeof t->port);
    while (PyDict_Next(ports, &at, &port, &priority)) {
        long number = PyLong_AsLong(port), value = PyLong_AsLong(priority);
        if (number < 0 || number > 65535 || value < 0 || value > 4)
            return 0;
        t->port[number] = (uint8_t)value;
    }
    return 1;
}

static void turnstile_dealloc(Turnstile *t)
{
    if (t->source != NULL)
        forget(t);
    PyMem_Free(t->word);
    PyMem_Free(t->source);
    PyMem_Free(t->row);
    Py_XDECREF(t->events);
    Py_XDECREF(t->refused);
    Py_XDECREF(t->event_words);
    Py_XDECREF(t->tails[0]);
    Py_XDECREF(t->tails[1]);
    Py_TYPE(t)->tp_free((PyObject *)t);
}

static PyObject *turnstile_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
    PyObject *ports, *events, *refused, *words, *free_tail, *locked_tail;
    unsigned long long uncertainty;
    int is_everybody, has_scales, is_ascii;
    if (!PyArg_ParseTuple(args, "O!O!O!OSSKppp", &PyDict_Type, &ports, &PyTuple_Type, &events, &PyTuple_Type, &refused, &words,
                          &free_tail, &locked_tail, &uncertainty, &is_everybody, &has_scales, &is_ascii))
        return NULL;
    Turnstile *t = (Turnstile *)type->tp_alloc(type, 0);
    if (t == NULL)
        return NULL;
    t->word = PyMem_Calloc(WORD_SLOTS, sizeof *t->word);
    t->source = PyMem_Calloc(SOURCE_SLOTS, sizeof *t->source);
    t->row = PyMem_Malloc(ROW_MAX);
    if (t->word == NULL || t->source == NULL || t->row == NULL) {
        Py_DECREF(t);
        return PyErr_NoMemory();
    }
    if (!take_ports(t, ports) || !are_events(events) || !are_bytes(refused) || (words != Py_None && (!PyTuple_Check(words) || !are_bytes(words)))
        || PyBytes_GET_SIZE(free_tail) > 100 || PyBytes_GET_SIZE(locked_tail) > 100) {
        Py_DECREF(t);
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "expected ports, events, kinds and words as turnstile.py gives them");
        return NULL;
    }
    t->events = Py_NewRef(events);
    t->refused = Py_NewRef(refused);
    t->event_words = Py_NewRef(words);
    t->tails[0] = Py_NewRef(free_tail);
    t->tails[1] = Py_NewRef(locked_tail);
    t->free_tail = (struct bytes){(const uint8_t *)PyBytes_AS_STRING(free_tail), (uint32_t)PyBytes_GET_SIZE(free_tail)};
    t->locked_tail = (struct bytes){(const uint8_t *)PyBytes_AS_STRING(locked_tail), (uint32_t)PyBytes_GET_SIZE(locked_tail)};
    t->device_uncertainty_ns = uncertainty;
    t->is_everybody = is_everybody;
    t->has_scales = has_scales;
    t->is_ascii = is_ascii;
    return (PyObject *)t;
}

static PyMethodDef methods[] = {
    {"hear", (PyCFunction)hear, METH_VARARGS, "hear(block, frames, offset_ns, received tail, arrival tail) -> (rows, notes, sound)"},
    {"learn_field", (PyCFunction)learn_field, METH_VARARGS, "learn_field(a field's name that is never sensitive)"},
    {"learn_name", (PyCFunction)learn_name, METH_VARARGS, "learn_name(a name that never makes sensitive what follows it in a text)"},
    {"learn_process", (PyCFunction)learn_process, METH_VARARGS, "learn_process(address, a process of it that is subscribed to)"},
    {"learn_source", (PyCFunction)learn_source, METH_VARARGS, "learn_source(address, its text, device, measured, low_ns, high_ns, at_tai_ns)"},
    {"forget_sources", (PyCFunction)forget_sources, METH_NOARGS, "forget_sources()"},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject TurnstileType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "firmware.core._turnstile.Turnstile",
    .tp_doc = "Plain messages, from a block to their bytes.",
    .tp_basicsize = sizeof(Turnstile),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = turnstile_new,
    .tp_dealloc = (destructor)turnstile_dealloc,
    .tp_methods = methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_turnstile", "Plain messages.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__turnstile(void)
{
    if (PyType_Ready(&TurnstileType) < 0)
        return NULL;
    PyObject *m = PyModule_Create(&module);
    if (m != NULL && PyModule_AddObjectRef(m, "Turnstile", (PyObject *)&TurnstileType) < 0)
        Py_CLEAR(m);
    return m;
}
