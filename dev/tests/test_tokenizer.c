/* The tokenizer against tiktoken's ids, against merging by its definition, and with files that are wrong. */
#include "base/random.h"
#include "data/tokenizer_private.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "dev/tests/tokenizer_files.h"
#include "files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- encoding and decoding --- */

/* The ids of a text, from a copy of exactly its size, so that a sanitizer sees every byte read past it. */
static void encode(Encoder *encoder, const char *text, size_t size, bool special, TokenList *list)
{
    Error e;
    char *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, text, size);
    list->count = 0;
    check(encoder_encode(encoder, copy, size, special, list, &e) == 0, "%s", e.text);
    free(copy);
}

/* Whether the ids' bytes are the text. */
static bool decodes_to(const Tokenizer *t, const TokenList *list, const char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *bytes;
        size_t n;
        Error e;
        if (tokenizer_token(t, list->ids[i], &bytes, &n, &e) != 0 || n > size - at || memcmp(text + at, bytes, n) != 0)
            return false;
        at += n;
    }
    return at == size;
}

static bool same_ids(const TokenList *list, const int32_t *ids, size_t count)
{
    bool same = list->count == count;
    for (size_t i = 0; same && i < count; i++)
        same = list->ids[i] == ids[i];
    return same;
}

typedef struct Judged {
    Tokenizer *t;
    Encoder *encoder;
    TokenList list;
    size_t lines;
} Judged;

static Judged begin(const char *path)
{
    Judged j = {.t = open_tokenizer(path)};
    j.encoder = make_encoder(j.t);
    return j;
}

static void end(Judged *j)
{
    free(j->list.ids);
    encoder_free(j->encoder);
    tokenizer_close(j->t);
}

static void compare_line(void *context, const char *text, size_t size, const int32_t *ids, size_t count)
{
    Judged *j = context;
    j->lines++;
    encode(j->encoder, text, size, false, &j->list);
    check(same_ids(&j->list, ids, count), "'%s': other ids", text);
    check(decodes_to(j->t, &j->list, text, size), "'%s': its ids decode to something else", text);
}

static void compare_golden(const char *path, const char *golden, size_t lines)
{
    Judged j = begin(path);
    if (j.encoder == NULL)
        return;
    each_golden(golden, compare_line, &j);
    check(j.lines == lines, "%zu lines", j.lines);
    end(&j);
}

static void test_tiny_golden(void)
{
    compare_golden(TINY "tiny.tiktoken", TINY "golden.jsonl", 77);
    compare_golden(TINY "vocab.json", TINY "golden.jsonl", 77);
}

static void test_gpt2_golden(void)
{
    const char *path = data_path("gpt2_golden.jsonl");
    char golden[512], tables[512];
    if (path == NULL)
        return;
    snprintf(golden, sizeof golden, "%s", path);
    if ((path = data_path("gpt2_encoder.json")) == NULL)
        return;
    snprintf(tables, sizeof tables, "%s", path);
    compare_golden(tables, golden, 100);
}

/* --- the three forms --- */

static void copy_file(const char *from, const char *name)
{
    char *text, path[128];
    size_t size;
    Error e;
    if (check(files_read_all(from, 1 << 22, &text, &size, &e) == 0, "%s", e.text)) {
        check(files_write_atomic(in_folder(name, path), text, size, &e) == 0, "%s", e.text);
        free(text);
    }
}

static void check_same(const char *path, uint64_t hash)
{
    Tokenizer *t = open_tokenizer(path);
    if (t == NULL)
        return;
    check(tokenizer_hash(t) == hash, "%s: another hash", path);
    check(tokenizer_size(t) == 497 && tokenizer_endoftext(t) == 496, "%s: %zu tokens, <|endoftext|> is %d", path,
          tokenizer_size(t), tokenizer_endoftext(t));
    tokenizer_close(t);
}

/* All forms are one tokenizer; in a directory OpenAI's names come first, then Hugging Face's, then ranks. */
static void test_forms(void)
{
    char path[128];
    Error e;
    Tokenizer *t = open_tokenizer(TINY "tiny.tiktoken");
    if (t == NULL)
        return;
    const uint64_t hash = tokenizer_hash(t);
    tokenizer_close(t);
    check_same(TINY "vocab.json", hash);
    check_same(TINY "merges.txt", hash);
    check_same(TINY, hash);
    copy_file(TINY "vocab.json", "my_encoder.json");
    copy_file(TINY "merges.txt", "my_vocab.bpe");
    check_same(in_folder("my_encoder.json", path), hash);
    check_same(in_folder("my_vocab.bpe", path), hash);
    check(tokenizer_open(folder, &t, &e) == -1 && strstr(e.text, "has no tokenizer") != NULL, "%s", e.text);
    copy_file(TINY "tiny.tiktoken", "a.tiktoken");
    check_same(folder, hash);
    copy_file(TINY "tiny.tiktoken", "b.tiktoken");
    check(tokenizer_open(folder, &t, &e) == -1 && strstr(e.text, "several *.tiktoken") != NULL, "%s", e.text);
    copy_file(TINY "vocab.json", "vocab.json");
    copy_file(TINY "merges.txt", "merges.txt");
    check_same(folder, hash);
    copy_file(TINY "vocab.json", "encoder.json");
    check(tokenizer_open(folder, &t, &e) == -1 && strstr(e.text, "vocab.bpe: cannot be opened") != NULL, "%s", e.text);
    copy_file(TINY "merges.txt", "vocab.bpe");
    check_same(folder, hash);
}

/* --- what must hold of any text --- */

static int32_t rank_of(const void *context, int32_t left, int32_t right, int32_t *merged)
{
    const Bpe *bpe = context;
    const BpeMerge *merges = bpe_merges(bpe);
    for (size_t rank = 0; rank < bpe_count(bpe); rank++)
        if (merges[rank].left == left && merges[rank].right == right) {
            *merged = merges[rank].merged;
            return (int32_t)rank;
        }
    return -1;
}

/* A word of random letters, mostly of the tiny vocabulary's commonest, behind a space or not. */
static size_t random_word(Random *r, char word[64])
{
    static const char letters[] = "theaosnirldue\xc3\xbc\xc3\xb6\xd0\xbe\xd0\xbb";
    const size_t length = 1 + random_below(r, random_below(r, 3) == 0 ? 60 : 14);
    size_t n = 0;
    if (random_below(r, 2) == 0)
        word[n++] = ' ';
    while (n < length)
        word[n++] = letters[random_below(r, random_below(r, 4) == 0 ? sizeof letters - 1 : 7)];
    return n;
}

/* More words than the cache holds, so that it forgets; among them again and again the same. */
static void test_cache(void)
{
    Judged j = begin(TINY);
    Random r = random_make(4, 0);
    if (j.encoder == NULL)
        return;
    for (size_t i = 0; i < 300000; i++) {
        char word[64];
        int32_t want[64];
        Random again = random_make(5, random_below(&r, 300));
        const size_t n = random_word(random_below(&r, 4) == 0 ? &again : &r, word);
        encode(j.encoder, word, n, false, &j.list);
        if (!check(decodes_to(j.t, &j.list, word, n), "word %zu decodes to something else", i))
            break;
        if (i % 64 != 0 || memchr(word, (char)0xc3, n) != NULL || memchr(word, (char)0xd0, n) != NULL)
            continue; /* several pieces, perhaps */
        for (size_t k = 0; k < n; k++)
            want[k] = j.t->byte_ids[(unsigned char)word[k]];
        bool one_piece = true;
        for (size_t k = 1; k < n; k++)
            one_piece &= word[k] >= 'a' && word[k] <= 'z';
        if (!one_piece)
            continue;
        const size_t left = merge_by_definition(rank_of, j.t->bpe, want, n);
        check(same_ids(&j.list, want, left), "word %zu: not as by the definition", i);
    }
    end(&j);
}

static void test_random_bytes(void)
{
    Judged j = begin(TINY);
    Random r = random_make(6, 0);
    if (j.encoder == NULL)
        return;
    for (size_t i = 0; i < 20000; i++) {
        char text[200];
        const size_t size = random_below(&r, sizeof text + 1);
        const uint64_t bytes = random_below(&r, 2) == 0 ? 256 : 3;
        for (size_t k = 0; k < size; k++)
            text[k] = (char)(random_below(&r, bytes) + (bytes == 3 ? 0x1f : 0));
        encode(j.encoder, text, size, i % 2 == 0, &j.list);
        check(decodes_to(j.t, &j.list, text, size), "random bytes %zu decode to others", i);
    }
    end(&j);
}

/* A megabyte of one thing: in seconds if time were quadratic in it, in hours. */
static void test_long_pieces(void)
{
    static const char *const units[] = {"a",        "the", " ",    "\n", "7",  "0123456789", "\xf0\x9f\x98\x80",
                                        "\xc3\xa9", "!",   "\xff", "'",  "'s", " '"};
    Judged j = begin(TINY);
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES + 16);
    for (size_t i = 0; j.encoder != NULL && i < sizeof units / sizeof *units; i++) {
        size_t size = 0;
        for (; size < BYTES; size += strlen(units[i]))
            memcpy(text + size, units[i], strlen(units[i]));
        text[size++] = 'x';
        encode(j.encoder, text, size, false, &j.list);
        check(decodes_to(j.t, &j.list, text, size), "a megabyte of '%s' decodes to something else", units[i]);
    }
    free(text);
    end(&j);
}

static void test_endoftext(void)
{
    static const char text[] = "the<|endoftext|> a<|endoftext|><|endoftext|><|endoftex<";
    Judged j = begin(TINY);
    if (j.encoder == NULL)
        return;
    encode(j.encoder, text, sizeof text - 1, false, &j.list);
    for (size_t i = 0; i < j.list.count; i++)
        check(j.list.ids[i] != 496, "ordinary text became <|endoftext|>");
    encode(j.encoder, text, sizeof text - 1, true, &j.list);
    size_t special = 0;
    for (size_t i = 0; i < j.list.count; i++)
        special += j.list.ids[i] == 496;
    check(special == 3, "%zu times <|endoftext|> instead of 3", special);
    check(decodes_to(j.t, &j.list, text, sizeof text - 1), "they decode to something else");
    encode(j.encoder, "<|endoftext|>", 13, true, &j.list);
    check(j.list.count == 1 && j.list.ids[0] == 496, "%zu ids instead of one", j.list.count);
    end(&j);
}

static void test_no_such_token(void)
{
    Tokenizer *t = open_tokenizer(TINY);
    const char *bytes;
    size_t size;
    Error e;
    if (t == NULL)
        return;
    check(tokenizer_token(t, 497, &bytes, &size, &e) == -1 && strstr(e.text, "no token 497") != NULL, "id 497");
    check(tokenizer_token(t, -1, &bytes, &size, &e) == -1 && strstr(e.text, "no token -1") != NULL, "id -1");
    check(tokenizer_token(t, 496, &bytes, &size, &e) == 0 && size == 13, "id 496");
    tokenizer_close(t);
}

/* Adds to what is in the list. */
static void test_appends(void)
{
    Judged j = begin(TINY);
    Error e;
    if (j.encoder == NULL)
        return;
    for (size_t i = 0; i < 1000; i++)
        check(encoder_encode(j.encoder, "a", 1, false, &j.list, &e) == 0 && j.list.count == i + 1 &&
                  j.list.ids[i] == j.list.ids[0],
              "text %zu", i);
    end(&j);
}

/* --- shards that were made by others --- */

/* Encodes the text of a shard's documents again; the last may be cut in the middle of a piece, its last `loose`
 * tokens are not compared. */
static void encode_again(Judged *j, const uint16_t *ids, size_t count, size_t loose)
{
    char *text = NULL;
    size_t size = 0, capacity = 0;
    for (size_t i = 0; i < count; i++) {
        const char *bytes;
        size_t n;
        Error e;
        check(tokenizer_token(j->t, ids[i], &bytes, &n, &e) == 0, "%s", e.text);
        if (size + n > capacity)
            text = realloc(text, capacity = 2 * (size + n));
        memcpy(text + size, bytes, n);
        size += n;
    }
    encode(j->encoder, text, size, true, &j->list);
    size_t same = 0;
    while (same < count && same < j->list.count && j->list.ids[same] == ids[same])
        same++;
    check(same + loose >= count, "token %zu of %zu is another", same, count);
    if (loose == 0)
        check(j->list.count == count, "%zu tokens instead of %zu", j->list.count, count);
    free(text);
}

static void compare_shard(const char *name, size_t loose)
{
    const char *path = data_path("gpt2_vocab.bpe");
    char *shard;
    size_t size;
    Error e;
    if (path == NULL)
        return;
    Judged j = begin(path);
    path = data_path(name);
    if (path != NULL && j.encoder != NULL &&
        check(files_read_all(path, 1 << 28, &shard, &size, &e) == 0, "%s", e.text)) {
        const size_t count = (size - 1024) / 2;
        uint16_t *ids = malloc(count * sizeof *ids);
        for (size_t i = 0; i < count; i++)
            ids[i] = (uint16_t)((unsigned char)shard[1024 + 2 * i] | (unsigned char)shard[1025 + 2 * i] << 8);
        encode_again(&j, ids, count, loose);
        free(ids);
        free(shard);
    }
    end(&j);
}

static void test_tinyshakespeare(void)
{
    compare_shard("tinyshakespeare_train.bin", 0);
    compare_shard("tinyshakespeare_val.bin", 0);
}

static void test_wikitext(void) { compare_shard("wikitext2_valid.bin", 0); }

static void test_docs(void) { compare_shard("docs_train_000000.bin", 20); }

/* --- files that are wrong --- */

/* Replaces `from` in a file's text by `to`, n bytes of it; "" at the end of the file. */
static void write_changed(const char *source, const char *name, const char *from, const char *to, size_t n)
{
    char *text, path[128];
    size_t size;
    Error e;
    if (!check(files_read_all(source, 1 << 20, &text, &size, &e) == 0, "%s", e.text))
        return;
    const char *at = *from != '\0' ? strstr(text, from) : text + size;
    if (check(at != NULL, "%s has no '%s'", source, from)) {
        const size_t before = (size_t)(at - text), after = before + strlen(from);
        char *changed = malloc(size + n);
        memcpy(changed, text, before);
        memcpy(changed + before, to, n);
        memcpy(changed + before + n, text + after, size - after);
        check(files_write_atomic(in_folder(name, path), changed, size - strlen(from) + n, &e) == 0, "%s", e.text);
        free(changed);
    }
    free(text);
}

static void refuses(const char *open, const char *sentence)
{
    char path[128];
    Tokenizer *t = NULL;
    Error e = {""};
    if (!check(tokenizer_open(in_folder(open, path), &t, &e) == -1, "%s was accepted; it should say: %s", open,
               sentence))
        tokenizer_close(t);
    check(strstr(e.text, sentence) != NULL, "'%s' does not say '%s'", e.text, sentence);
    check(strncmp(e.text, folder, strlen(folder)) == 0, "'%s' does not begin with the file", e.text);
}

typedef struct Wrong {
    const char *from, *to, *sentence;
} Wrong;

static void test_wrong_vocabularies(void)
{
    static const Wrong cases[] = {
        {"\"!\": 0,", "\"!\": 1,", "x_vocab.json: \"\"\" is the second token with the id 1"},
        {"\"!\": 0,", "\"!\": 497,", "x_vocab.json: \"!\" must have one of the ids 0 to 496, as there are 497 tokens"},
        {"\"!\": 0,", "\"!\": -1,", "\"!\" must have one of the ids"},
        {"\"!\": 0,", "\"!\": 0.0,", "\"!\" must have one of the ids"},
        {"\"!\": 0,", "\"!\": \"0\",", "\"!\" must have one of the ids"},
        {"\"!\": 0,", "", "must have one of the ids 0 to 495"},
        {"\"!\": 0,", "\"!!\": 0,", "x_vocab.json: has no token for the byte 0x21"},
        {"\"!\": 0,", "\"! \": 0,", "x_vocab.json: \"! \" has a character that stands for no byte"},
        {"\"!\": 0,", "\"!\": 0, \"\xe2\x82\xac\": 497,", "stands for no byte"},
        {"\"!\": 0,", "\"!\": 0, \"#\": 497,", "has the key \"#\" twice"},
        {"\"!\": 0,", "\"!\": 0, \"zzz\": 497,", "x_merges.txt: has 240 merges, none of which makes token 497 of"},
        {"<|endoftext|>", "<|endofdoc|>", "x_vocab.json: has no token <|endoftext|>"},
        {"}\n", "", "x_vocab.json: line 1, column"},
        {"\"!\": 0,", "\"!\xff\": 0,", "x_vocab.json: line 1, column 4: a string is not UTF-8"},
    };
    copy_file(TINY "merges.txt", "x_merges.txt");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_changed(TINY "vocab.json", "x_vocab.json", cases[i].from, cases[i].to, strlen(cases[i].to));
        refuses("x_vocab.json", cases[i].sentence);
    }
    char path[128];
    Error e;
    files_write_atomic(in_folder("x_vocab.json", path), "[1]", 3, &e);
    refuses("x_vocab.json", "x_vocab.json: is no object of tokens and their ids");
    files_write_atomic(in_folder("x_vocab.json", path), "{}", 2, &e);
    refuses("x_vocab.json", "x_vocab.json: is no object of tokens and their ids");
    files_write_atomic(in_folder("x_vocab.json", path), "", 0, &e);
    refuses("x_vocab.json", "x_vocab.json: line 1, column 1");
}

static void test_wrong_merges(void)
{
    static const Wrong cases[] = {
        {"", "\xc4\xa0 \xc4\xa0", "x_merges.txt: line 242: repeats an earlier merge"},
        {"", "t\n", "x_merges.txt: line 242: is not two tokens with a space between"},
        {"", "t h e\n", "line 242: is not two tokens with a space between"},
        {"", " h\n", "line 242: is not two tokens with a space between"},
        {"", "t \n", "line 242: is not two tokens with a space between"},
        {"", "\n", "line 242: is not two tokens with a space between"},
        {"", "q q", "x_merges.txt: line 242: makes \"qq\", which is no token of"},
        {"", "qq q", "x_merges.txt: line 242: \"qq\" is no token of"},
        {"", "\xe2\x82\xac q", "line 242: \"\xe2\x82\xac\" has a character that stands for no byte"},
        {"", "\xff q", "line 242: \"\\xff\" has a character that stands for no byte"},
        {"#version: 0.2\n", "", NULL},
        {"0.2\n", "0.2\r\n", NULL},
    };
    copy_file(TINY "vocab.json", "x_vocab.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        write_changed(TINY "merges.txt", "x_merges.txt", cases[i].from, cases[i].to, strlen(cases[i].to));
        if (cases[i].sentence != NULL)
            refuses("x_merges.txt", cases[i].sentence);
        else
            tokenizer_close(open_tokenizer(in_folder("x_merges.txt", path)));
    }
    char *text, path[128];
    size_t size;
    Error e;
    check(files_read_all(TINY "merges.txt", 1 << 20, &text, &size, &e) == 0, "%s", e.text);
    text[size - 1] = '\0';
    const size_t last = (size_t)(strrchr(text, '\n') + 1 - text);
    files_write_atomic(in_folder("x_merges.txt", path), text, last, &e);
    refuses("x_merges.txt", "x_merges.txt: has 239 merges, none of which makes token 495 of");
    files_write_atomic(in_folder("x_merges.txt", path), text, 0, &e);
    refuses("x_merges.txt", "x_merges.txt: has 0 merges, none of which makes token 256 of");
    free(text);
    refuses("y_merges.txt", "y_merges.txt: cannot be opened");
}

static void test_wrong_ranks(void)
{
    static const Wrong cases[] = {
        {"IQ== 0\n", "IQ== 1\n", "x.tiktoken: line 2: has the rank 1, as line 1 has"},
        {"IQ== 0\n", "IQ== 497\n", "x.tiktoken: line 1: the rank 497 is too high for a file of 496 tokens"},
        {"IQ== 0\n", "", "x.tiktoken: has no token for the byte 0x21"},
        {"IQ== 0\n", "IQ= 0\n", "x.tiktoken: line 1: is not a token in base64, a space and its rank"},
        {"IQ== 0\n", "I=== 0\n", "line 1: is not a token in base64"},
        {"IQ== 0\n", " 0\n", "line 1: is not a token in base64"},
        {"IQ== 0\n", "IQ==\n", "line 1: is not a token in base64"},
        {"IQ== 0\n", "IQ== \n", "line 1: is not a token in base64"},
        {"IQ== 0\n", "IQ== x\n", "line 1: is not a token in base64"},
        {"IQ== 0\n", "I\xffQ= 0\n", "line 1: is not a token in base64"},
        {"IQ== 0\n", "Ig== 0\n", "x.tiktoken: tokens 0 and 1 have the same bytes"},
        {"IQ== 0\n", "ISE= 0\n", "x.tiktoken: has no token for the byte 0x21"},
        {"IQ== 0\n", "IQ== 0\nenp6enp6 496\n",
         "x.tiktoken: line 2: the token is not made of two tokens of lower rank, but of 6"},
    };
    char path[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_changed(TINY "tiny.tiktoken", "x.tiktoken", cases[i].from, cases[i].to, strlen(cases[i].to));
        refuses("x.tiktoken", cases[i].sentence);
    }
    Error e;
    files_write_atomic(in_folder("x.tiktoken", path), "", 0, &e);
    refuses("x.tiktoken", "x.tiktoken: has no token for the byte 0x00");
    /* <|endoftext|> has the id that is left out, as in p50k_base. */
    write_changed(TINY "tiny.tiktoken", "x.tiktoken", "IQ== 0\n", "IQ== 496\n", 9);
    Tokenizer *t = open_tokenizer(in_folder("x.tiktoken", path));
    check(t == NULL || tokenizer_endoftext(t) == 0, "<|endoftext|> is not 0");
    tokenizer_close(t);
}

static void test_wrong_names(void)
{
    char path[128];
    Error e;
    Tokenizer *t;
    check(tokenizer_open(in_folder("nothing", path), &t, &e) == -1 &&
              strstr(e.text, "nothing: cannot be opened") != NULL,
          "%s", e.text);
    check(tokenizer_open("Makefile", &t, &e) == -1 && strstr(e.text, "Makefile: is no tokenizer by its name") != NULL,
          "%s", e.text);
    files_make_dirs(in_folder("alone", path), &e);
    files_write_atomic(in_folder("alone/tokenizer.json", path), "{}", 2, &e);
    check(tokenizer_open(in_folder("alone", path), &t, &e) == -1 && strstr(e.text, "has only a tokenizer.json") != NULL,
          "%s", e.text);
}

int main(void)
{
    if (!folder_begin("test_tokenizer"))
        return 1;
    check_run("a tiny vocabulary gives tiktoken's ids", test_tiny_golden);
    check_run("GPT-2's vocabulary gives tiktoken's ids", test_gpt2_golden);
    check_run("a tokenizer is the same in its three forms", test_forms);
    check_run("the cache changes nothing", test_cache);
    check_run("random bytes decode to themselves", test_random_bytes);
    check_run("a megabyte of one thing takes no time", test_long_pieces);
    check_run("<|endoftext|> in text", test_endoftext);
    check_run("an id that there is not", test_no_such_token);
    check_run("encoding appends", test_appends);
    check_run("tinyshakespeare's shards, encoded again", test_tinyshakespeare);
    check_run("wikitext2's shard, encoded again", test_wikitext);
    check_run("a shard of documentation, encoded again", test_docs);
    check_run("vocabularies that are wrong", test_wrong_vocabularies);
    check_run("merges that are wrong", test_wrong_merges);
    check_run("ranks that are wrong", test_wrong_ranks);
    check_run("paths that are no tokenizer", test_wrong_names);
    folder_end();
    return check_summary();
}
