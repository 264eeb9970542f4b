/* Publish one message to the box, in C and with nothing but sockets. FORMAT.md is the description; this is its CBOR form.
 *
 *     cc -o publish publish.c
 *     ./publish 239.1.1.1 47001 arm-3 17 3 tool-failure "joint 2 stopped"
 *               address   port  process sequence severity event text
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t message[65507]; /* the largest UDP datagram over IPv4 */
static size_t size;

/* An item's first bytes: its kind (0 unsigned integer, 3 text, 5 map) and its value or length, in the shortest form (RFC 8949, 3). */
static void head(unsigned kind, uint32_t value) {
    if (value < 24) {
        message[size++] = (uint8_t)(kind << 5 | value);
        return;
    }
    int bytes = value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;
    message[size++] = (uint8_t)(kind << 5 | (bytes == 1 ? 24 : bytes == 2 ? 25 : 26));
    while (bytes--)
        message[size++] = (uint8_t)(value >> 8 * bytes);
}

static void text(const char *words) {
    size_t length = strlen(words);
    if (length + size + 64 > sizeof message) {
        fputs("publish: expected a message of at most 65,507 bytes\n", stderr);
        exit(1);
    }
    head(3, (uint32_t)length);
    memcpy(message + size, words, length);
    size += length;
}

int main(int count, char **given) {
    struct sockaddr_in box = {.sin_family = AF_INET};
    if (count != 8 || inet_pton(AF_INET, given[1], &box.sin_addr) != 1) {
        fputs("usage: publish ADDRESS PORT PROCESS SEQUENCE SEVERITY EVENT TEXT\n", stderr);
        return 2;
    }
    box.sin_port = htons((uint16_t)atoi(given[2]));
    head(5, 5);
    text("process"), text(given[3]);
    text("sequence"), head(0, (uint32_t)strtoul(given[4], NULL, 10));
    text("severity"), head(0, (uint32_t)strtoul(given[5], NULL, 10));
    text("event"), text(given[6]);
    text("text"), text(given[7]);
    int wire = socket(AF_INET, SOCK_DGRAM, 0);
    if (wire < 0 || sendto(wire, message, size, 0, (struct sockaddr *)&box, sizeof box) != (ssize_t)size) {
        perror("publish");
        return 1;
    }
    return close(wire) ? 1 : 0;
}
