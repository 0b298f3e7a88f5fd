/* XXH64, against values of another implementation: Python's xxhash 4.1.0, of the bytes (167 i + 13) mod 256. */
#include "base/hash.h"
#include "dev/tests/check.h"

#include <string.h>

enum { N = 1000 };
static unsigned char bytes[N];

static void test_values(void)
{
    static const struct {
        size_t size;
        uint64_t hash;
    } known[] = {{0, 0xef46db3751d8e999u},   {1, 0x2078e1ad38ad738bu},  {3, 0x634d95fc01a189cdu},
                 {4, 0xeed340908a1ac6c6u},   {7, 0x0da493621d6dc898u},  {8, 0x76f916c7bb523126u},
                 {31, 0x65c5feb01da7464du},  {32, 0x7665c921c9bf2ec7u}, {33, 0xb5a9d9ef259ae821u},
                 {63, 0xb0289cd9324034f0u},  {64, 0xfff2525c99bf2005u}, {100, 0x74e502db362efd4cu},
                 {1000, 0x626443c8029d0542u}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        check(hash_bytes(bytes, known[i].size) == known[i].hash, "%zu bytes: %llx", known[i].size,
              (unsigned long long)hash_bytes(bytes, known[i].size));
    uint64_t all = 0;
    for (size_t n = 0; n <= N; n++)
        all ^= hash_bytes(bytes, n) * (2 * n + 1);
    check(all == 0x7c17486b0488f792u, "all lengths: %llx", (unsigned long long)all);
}

static void test_pieces(void)
{
    const uint64_t whole = hash_bytes(bytes, N);
    for (size_t first = 0; first < 70; first++)
        for (size_t piece = 1; piece < 100; piece += 3) {
            Hash h = hash_begin();
            hash_add(&h, bytes, first);
            for (size_t at = first; at < N; at += piece)
                hash_add(&h, bytes + at, at + piece < N ? piece : N - at);
            check(hash_end(&h) == whole, "%zu bytes, then pieces of %zu", first, piece);
        }
}

static void test_text(void)
{
    char text[HASH_TEXT];
    hash_format(0xabcdef, text);
    check(strcmp(text, "0000000000abcdef") == 0, "%s", text);
}

int main(void)
{
    for (size_t i = 0; i < N; i++)
        bytes[i] = (unsigned char)(167 * i + 13);
    check_run("known values", test_values);
    check_run("in pieces", test_pieces);
    check_run("as text", test_text);
    return check_summary();
}
