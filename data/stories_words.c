#include "data/stories_words.h"

#include <string.h>

static const Word persons[] = {
    {"Adam", "he"},   {"Ben", "he"},    {"David", "he"},  {"Emil", "he"},   {"Felix", "he"},  {"Finn", "he"},
    {"Henry", "he"},  {"Hugo", "he"},   {"Jack", "he"},   {"Jonas", "he"},  {"Karl", "he"},   {"Leo", "he"},
    {"Luke", "he"},   {"Max", "he"},    {"Noah", "he"},   {"Omar", "he"},   {"Oscar", "he"},  {"Paul", "he"},
    {"Peter", "he"},  {"Ravi", "he"},   {"Samuel", "he"}, {"Simon", "he"},  {"Tom", "he"},    {"Victor", "he"},
    {"Alice", "she"}, {"Anna", "she"},  {"Bella", "she"}, {"Clara", "she"}, {"Dora", "she"},  {"Ella", "she"},
    {"Emma", "she"},  {"Greta", "she"}, {"Hanna", "she"}, {"Ida", "she"},   {"Julia", "she"}, {"Kate", "she"},
    {"Lena", "she"},  {"Lucy", "she"},  {"Maya", "she"},  {"Mia", "she"},   {"Nina", "she"},  {"Olga", "she"},
    {"Rosa", "she"},  {"Ruth", "she"},  {"Sara", "she"},  {"Tess", "she"},  {"Vera", "she"},  {"Zoe", "she"},
};

static const Word places[] = {
    {"park", "in"},     {"garden", "in"},    {"forest", "in"},   {"kitchen", "in"}, {"market", "at"}, {"station", "at"},
    {"school", "at"},   {"mill", "at"},      {"river", "by"},    {"lake", "by"},    {"bridge", "on"}, {"hill", "on"},
    {"beach", "on"},    {"barn", "in"},      {"library", "in"},  {"harbor", "at"},  {"church", "in"}, {"bakery", "at"},
    {"farm", "on"},     {"meadow", "in"},    {"tower", "in"},    {"cave", "in"},    {"castle", "in"}, {"village", "in"},
    {"orchard", "in"},  {"attic", "in"},     {"cellar", "in"},   {"yard", "in"},    {"shed", "in"},   {"zoo", "at"},
    {"museum", "in"},   {"square", "on"},    {"island", "on"},   {"well", "by"},    {"pond", "by"},   {"gate", "at"},
    {"fountain", "by"}, {"stable", "in"},    {"workshop", "in"}, {"theater", "at"}, {"canal", "by"},  {"brook", "by"},
    {"sea", "by"},      {"waterfall", "by"},
};

static const Word adjectives[] = {
    {"red", NULL},    {"blue", NULL},   {"green", NULL},   {"yellow", NULL},  {"white", NULL}, {"black", NULL},
    {"old", NULL},    {"new", NULL},    {"small", NULL},   {"big", NULL},     {"shiny", NULL}, {"wooden", NULL},
    {"golden", NULL}, {"silver", NULL}, {"round", NULL},   {"heavy", NULL},   {"tiny", NULL},  {"orange", NULL},
    {"ugly", NULL},   {"odd", NULL},    {"striped", NULL}, {"painted", NULL}, {"dusty", NULL}, {"soft", NULL},
    {"light", NULL},  {"fine", NULL},   {"brown", NULL},   {"purple", NULL},  {"empty", NULL}, {"curious", NULL},
};

static const Word nouns[] = {
    {"kite", NULL},     {"drum", NULL},   {"lamp", NULL},     {"scarf", NULL},   {"boat", NULL},    {"whistle", NULL},
    {"umbrella", NULL}, {"basket", NULL}, {"notebook", NULL}, {"hat", NULL},     {"coin", NULL},    {"bell", NULL},
    {"mirror", NULL},   {"ring", NULL},   {"key", NULL},      {"spoon", NULL},   {"puppet", NULL},  {"flute", NULL},
    {"map", NULL},      {"jar", NULL},    {"clock", NULL},    {"blanket", NULL}, {"letter", NULL},  {"bucket", NULL},
    {"shovel", NULL},   {"ladder", NULL}, {"candle", NULL},   {"marble", NULL},  {"pencil", NULL},  {"violin", NULL},
    {"glove", NULL},    {"rope", NULL},   {"shell", NULL},    {"stone", NULL},   {"doll", NULL},    {"cup", NULL},
    {"mug", NULL},      {"chair", NULL},  {"apron", NULL},    {"feather", NULL}, {"button", NULL},  {"wheel", NULL},
    {"pillow", NULL},   {"vase", NULL},   {"brush", NULL},    {"trumpet", NULL}, {"lantern", NULL}, {"egg", NULL},
};

static const Word things[] = {
    {"apples", "apple"},   {"pears", "pear"},   {"plums", "plum"},     {"cherries", "cherry"},
    {"nuts", "nut"},       {"eggs", "egg"},     {"cookies", "cookie"}, {"carrots", "carrot"},
    {"lemons", "lemon"},   {"buns", "bun"},     {"buttons", "button"}, {"stamps", "stamp"},
    {"marbles", "marble"}, {"shells", "shell"}, {"pebbles", "pebble"}, {"feathers", "feather"},
    {"beads", "bead"},     {"coins", "coin"},   {"stones", "stone"},   {"cards", "card"},
    {"candles", "candle"}, {"books", "book"},   {"tickets", "ticket"}, {"flowers", "flower"},
    {"ribbons", "ribbon"}, {"onions", "onion"}, {"figs", "fig"},       {"peaches", "peach"},
};

static const Word goods[] = {
    {"bread", NULL},  {"milk", NULL},   {"cheese", NULL}, {"honey", NULL},   {"salt", NULL},  {"flour", NULL},
    {"butter", NULL}, {"rice", NULL},   {"soap", NULL},   {"tea", NULL},     {"sugar", NULL}, {"pepper", NULL},
    {"oil", NULL},    {"paper", NULL},  {"wool", NULL},   {"fish", NULL},    {"jam", NULL},   {"ink", NULL},
    {"corn", NULL},   {"string", NULL}, {"garlic", NULL}, {"vinegar", NULL},
};

static const Word spots[] = {
    {"under a bench", NULL},    {"behind a tree", NULL},    {"in the tall grass", NULL},   {"on a wall", NULL},
    {"next to a fence", NULL},  {"inside a box", NULL},     {"between two rocks", NULL},   {"on top of a cart", NULL},
    {"under a bush", NULL},     {"behind a door", NULL},    {"in a heap of leaves", NULL}, {"beside a barrel", NULL},
    {"near a lamp post", NULL}, {"under the stairs", NULL}, {"behind a curtain", NULL},    {"in an old cupboard", NULL},
};

static const Word animals[] = {
    {"cat", NULL}, {"dog", NULL},    {"rabbit", NULL}, {"goat", NULL},     {"duck", NULL},  {"parrot", NULL},
    {"hen", NULL}, {"pony", NULL},   {"kitten", NULL}, {"donkey", NULL},   {"goose", NULL}, {"mouse", NULL},
    {"owl", NULL}, {"turtle", NULL}, {"lamb", NULL},   {"squirrel", NULL}, {"fox", NULL},   {"hedgehog", NULL},
};

#define LIST(name, words, used_index, only)                           \
    {                                                                 \
        name, words, sizeof words / sizeof words[0], used_index, only \
    }

const WordList *words_find(const char *name, size_t length)
{
    static const WordList lists[] = {
        LIST("person", persons, 0, NULL),       LIST("boy", persons, 0, "he"),  LIST("girl", persons, 0, "she"),
        LIST("place", places, 1, NULL),         LIST("spot", spots, 2, NULL),   LIST("noun", nouns, 3, NULL),
        LIST("adjective", adjectives, 4, NULL), LIST("thing", things, 5, NULL), LIST("goods", goods, 6, NULL),
        LIST("animal", animals, 7, NULL),       LIST("shore", places, 1, "by"),
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (strlen(lists[i].name) == length && memcmp(lists[i].name, name, length) == 0)
            return &lists[i];
    return NULL;
}
