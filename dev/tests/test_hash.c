/* XXH64 against values of an independent implementation: xxhash 3 for Python, which wraps the author's own code. */
#include "base/hash.h"
#include "dev/tests/check.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1000, LENGTHS = 102 };

/* Of the first 0, 1, ..., 100 and 1000 bytes of (31 i^2 + 7 i + 3) mod 251. */
static const uint64_t known[LENGTHS] = {
    0xef46db3751d8e999, 0x1f25c8d0bc1f4bb6, 0x4c26aa80289d31a8, 0xa020f3294a68c3b2, 0xa321169d3d1ee33a,
    0x9d40397a28b78b44, 0x4bded25291561d38, 0x235288dfd99681c5, 0xf6aefba1a0113582, 0x64abbb0da0d3945b,
    0xce75c4e703f9adc6, 0xc7faf1beac785a27, 0x4c863484dc0051b4, 0xf982e0dc7c2b2e77, 0x8530a50dec983155,
    0xb4f6c9854f6f225b, 0xc8cfdc61f642d0f3, 0x8f8839a915319e59, 0x0424844c61d08fba, 0x561fd1cc715af083,
    0xa4fd37ec25dc1007, 0x0ecc2edc9f8edd89, 0xbc192c7137213abd, 0x6f7894419afd4a97, 0x35cf0a12b8dfd8c1,
    0x358f4b00a9fccee5, 0x24815245014d3e90, 0x7dc36027cc4b2143, 0xa5c5d1af7b50137e, 0xdc3edfc2be595cba,
    0x76f67a623eb962eb, 0x4326e3bdf73e9e4c, 0x660037829b4241f6, 0x650329e1c80136fa, 0x98081d557e333eb5,
    0xd89ae82215b96021, 0xdef895c9d9fc3120, 0xebcc177cfe2d2911, 0x6574225ff0d95cd7, 0xb0c578d49bb357b3,
    0x31074ad7d55eabeb, 0xeab139ae6c51188f, 0x36910d8cb8bd6974, 0xc207da541e2ba04e, 0xc37453718d3072f3,
    0x8248409ac32d6f49, 0x9de932902fb24c71, 0x742e387846af6865, 0x8cbb423e2976fd1c, 0x6c11a5776766a0db,
    0x420039794df3f56f, 0xae03842bfea17b8a, 0x4af6cf9685fb7c08, 0xf0891ff004bb5768, 0xc4527d8cba05cb8d,
    0xd3de317ec8a20191, 0xafdf82e136621a18, 0xdba3e0e0666b4064, 0x5c70d61804e23517, 0x13cb804659468405,
    0x0e9f3a95626f225b, 0xefcc2dcac6b2839c, 0xaa145491db572057, 0xc0a830893b1102b3, 0xb6a24631a63c9c65,
    0x8478b6e90fced65e, 0x18ef695ac16806f5, 0xeda57576b0e18cf0, 0x3feb3f919e23d12e, 0xc3f2a4e3628c8bf1,
    0xe89ca39de3fddf1e, 0xe0d542c97e0df7c0, 0x28b3dbb5138703d2, 0xc7b53694cc117403, 0xdd1c9629da8d70e8,
    0x8a13bbbcdd66e2ad, 0xea49b68c9f7fb9ec, 0x5b891ec219e721f5, 0xfd35bf101dbada32, 0x48d71391813ef77c,
    0x810baa675d70b87e, 0x4617e9ada4e9dbc3, 0x172aed472588abd5, 0xd00b73c834a57a26, 0xd039e7f00a309361,
    0x4e61550afbecccce, 0xe4270aae80e1b114, 0x45090091f6ed3746, 0xb6694edcd171f49c, 0xdd75dd800c5f8266,
    0xc505c4ba19f97b1f, 0xa998f44f03c617ce, 0x5d9d663d47b13643, 0x30349bf96632df56, 0x2177e940463560b1,
    0x35b3f208bf59188a, 0xd610f943eb50edaf, 0xa3bfde67745b5eac, 0x050845b09c34fe7b, 0xa397c908fe9f8252,
    0xa012bb5db823c013, 0x7e09ac06275ceb02,
};

static unsigned char bytes[LONGEST];

static size_t length_of(size_t i) { return i < LENGTHS - 1 ? i : LONGEST; }

static void test_known_values(void)
{
    for (size_t i = 0; i < LENGTHS; i++) {
        char text[HASH_TEXT], want[HASH_TEXT];
        unsigned char *copy = malloc(length_of(i) + 1); /* of its size, so that a sanitizer sees a byte read past it */
        memcpy(copy, bytes, length_of(i));
        hash_format(hash_bytes(copy, length_of(i)), text);
        hash_format(known[i], want);
        check(strcmp(text, want) == 0, "%zu bytes: got %s, want %s", length_of(i), text, want);
        free(copy);
    }
}

/* Pieces of 1, of 2, ..., of 70 bytes, and of 0, 1, 2, ... bytes; the hash so far changes nothing. */
static void test_pieces(void)
{
    for (size_t i = 0; i < LENGTHS; i++)
        for (size_t piece = 0; piece <= 70; piece++) {
            Hash h = hash_begin();
            size_t done = 0;
            for (size_t next = piece; done < length_of(i); next += piece == 0) {
                const size_t left = length_of(i) - done, now = next < left ? next : left;
                hash_add(&h, bytes + done, now);
                done += now;
                check(hash_end(&h) == hash_bytes(bytes, done), "%zu bytes in pieces of %zu", done, piece);
            }
            check(hash_end(&h) == known[i], "%zu bytes in pieces of %zu", length_of(i), piece);
        }
}

static void test_nothing(void)
{
    Hash h = hash_begin();
    hash_add(&h, NULL, 0);
    check(hash_end(&h) == known[0] && hash_bytes(NULL, 0) == known[0], "no bytes at no address");
}

static void test_text(void)
{
    char text[HASH_TEXT];
    hash_format(0xab, text);
    check(strcmp(text, "00000000000000ab") == 0, "got %s", text);
    hash_format(UINT64_MAX, text);
    check(strcmp(text, "ffffffffffffffff") == 0, "got %s", text);
}

int main(void)
{
    for (size_t i = 0; i < LONGEST; i++)
        bytes[i] = (unsigned char)((i * i * 31 + i * 7 + 3) % 251);
    check_run("known values", test_known_values);
    check_run("the same in pieces", test_pieces);
    check_run("nothing", test_nothing);
    check_run("as text", test_text);
    return check_summary();
}
