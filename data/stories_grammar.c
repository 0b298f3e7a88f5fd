#include "data/stories_grammar.h"

#include "data/stories_tell.h"

#include <stdio.h>

/* The plots. Slots by habit: A, B, C people; x, y, z items; p, q, r places; d the day, w the weather. */

/* --- fragments of patterns --- */

#define RELATED_B                                                                                            \
    "[3*friend {B=person}|2*brother {B=boy}|2*sister {B=girl}|cousin {B=person}|uncle {B=boy}|aunt {B=girl}" \
    "|neighbor {B=person}]"
#define SAID "[4*said|answered|replied|whispered|cried]"
#define SADLY "[sadly|quietly|slowly|with a sigh|in a small voice|almost in tears]"
#define GLADLY "[happily|proudly|cheerfully|with a smile|with a laugh|in a loud voice|and jumped for joy]"
#define VERY "[very|quite|rather|really|so]"

/* A sentence or two about A that has nothing to do with the plot. */
static void detail(Scribe *s)
{
    tell(s, "[{A} was {X=7..12 years old} and [liked|loved|feared|drew|kept|dreamed of] "
            "{Y=dogs|cats|horses|birds|trains|stars|ghosts|ships|bees|clouds}|{A} wore {X=a adjective} "
            "{Y=coat|shirt|dress|sweater|jacket|cape} and {Z=shoes|boots|socks|sandals}|{A} had [brought|taken "
            "along] {A his} [old|young|clever|lazy|brave] {X=animal} "
            "{Y=Bolt|Pip|Rusty|Misty|Nugget|Clover|Daisy|Ziggy}|It smelled of {X=goods} and {Y=goods}|Somewhere "
            "{X=a animal} was [singing|asleep|making noise|eating {Y=nuts|leaves|bread|corn}]]. ");
}

/* --- plots: each continues after "<day>, Anna" and the plot's first words --- */

/* " could not find": two places are searched; what is not in the first is in the second. */
static void plot_lost(Scribe *s)
{
    tell(s, " {A his} {x=item}. \"[I had it|It was with me|I played with it|I saw it|I needed it] {p=at place}, and "
            "[after that|later|then] I took it to the {q=place},\" {A he} told {A his} " RELATED_B " " SADLY ". ");
    detail(s);
    tell(s, "\"[Let us look|We should look|Come, we will look|We must search] {p at} first,\" " SAID " {B}. ");
    const bool found = tell(s, "[They|Both|The two] [looked|searched] {r=spot} {p at}[, but [found only|there was "
                               "only|all they saw was] {y=a item}. |, and there was the {x}! ]") == 1;
    slot_copy(s, 'f', found ? 'p' : 'q');
    if (!found) {
        tell(s, "\"[This|That] is not my {x one},\" " SAID " {A}. So they [went on and looked|went to search|had to "
                "look] {q at}. [And there it was, {t=spot}: the {x}! |There lay the {x}, {t=spot}. |They found it "
                "{t=spot}. ]");
    }
    tell(s, "\"[Thank you, {B}|Oh, {B}, you are so kind|{B}, how good that I asked you|You have sharp eyes, {B}],\" "
            "" SAID " {A} " GLADLY ". ");
    if (!found)
        tell(s, "[They left the {y} {p at}, because it was not theirs|{B} kept the {y}, and {A} kept the {x}|Nobody "
                "ever asked for the {y}|They hung the {y} on a nail {p at}]. ");
    tell(s, "[From then on {A} never took {A his} {x one} to the {f} again|The next day {A} went back to the {f}, "
            "but without {A his} {x one}|{A} was glad that {A he} had gone to the {f} with {B}|{A} took the {x} home "
            "and kept it {u=spot}]. ");
}

/* Binds "4 apples" or "1 apple" to slot `to`, for the number in slot `from` and the thing in slot t. */
static void bind_amount(Scribe *s, char to, char from)
{
    const Slot *thing = &s->slots['t' - SLOT_FIRST];
    const size_t n = slot_number(s, from);
    char text[64];
    snprintf(text, sizeof text, "%zu %s", n, n == 1 && thing->other != NULL ? thing->other : thing->text);
    slot_bind(s, to, text);
}

static void bind_half(Scribe *s, char to, char from)
{
    const size_t half = slot_number(s, from) / 2;
    slot_bind_number(s, to, half < 9 ? half : 9);
}

/* One change of the hoards in slots a and b, by at most half of a hoard, so that neither runs out. */
static void count_event(Scribe *s)
{
    enum { A_GIVES, B_GIVES, A_FINDS, B_LOSES };
    bind_half(s, 'm', 'a');
    bind_half(s, 'n', 'b');
    const size_t event = tell(s, "[2*{A} gave {B} {k=1..m }|2*{B} gave {A} {k=1..n }|{A} found {k=1..9 }|{B} lost "
                                 "{k=1..n }]");
    const size_t a = slot_number(s, 'a'), b = slot_number(s, 'b'), k = slot_number(s, 'k');
    tell(s, k == 1 ? "{t one}" : "{t}");
    if (event == A_FINDS || event == B_LOSES)
        tell(s, " {p=at place}");
    slot_bind_number(s, 'a', event == A_GIVES ? a - k : event == B_LOSES ? a : a + k);
    slot_bind_number(s, 'b', event == A_GIVES ? b + k : event == A_FINDS ? b : b - k);
    bind_amount(s, 'u', 'a');
    bind_amount(s, 'v', 'b');
    tell(s, ". [2*Now|So] {A} had {u} and {B} [had|was left with] {v}. ");
}

/* " had": two hoards, some gifts and losses, and the sums. */
static void plot_count(Scribe *s)
{
    tell(s, " {a=8..20 }{t=thing}, and {A his} " RELATED_B " had {b=8..20 }{t} too. ");
    detail(s);
    bool more = true;
    for (int round = 1; more; round++) {
        count_event(s);
        more = tell(s, round < 3 ? "[2*Then |\"How many]" : "\"How many") == 0 && round < 3;
    }
    slot_bind_number(s, 'c', slot_number(s, 'a') + slot_number(s, 'b'));
    tell(s, " {t} do you have now?\" asked {C=person}. \"I have {u},\" " SAID " {A}, \"and {B} has {v}.\" ");
    if (tell(s, "[\"Together that makes {c},\" said {C}. |{C} wanted some {t} too. ]") == 1)
        tell(s, "\"[You may have one of mine|Take one from me|Please have one],\" said {A}, so {C} got 1 {t one}. ");
}

/* " went for a walk": the weather, what it does to you, and what helps. */
static void plot_weather(Scribe *s)
{
    static const char *const turn[] = {"It began to rain", "It began to snow", "A strong wind rose",
                                       "The sun grew hot"};
    static const char *const effect[] = {"wet", "cold", "tired", "thirsty"};
    static const char *const state[] = {"dry", "warm", "rested", "refreshed"};
    static const char *const help[] = {
        "[a towel|a dry shirt|dry socks|a seat by the stove]",
        "[a cup of hot tea|a woolen blanket|a bowl of hot soup|warm gloves]",
        "[a soft chair|a place to lie down|a cushion]",
        "[a glass of water|some cold lemonade|a slice of melon]",
    };
    tell(s, " {p=at shore} ");
    const size_t w = tell(s, "[without an umbrella|in a thin coat|with a big kite|with no hat on]. ");
    detail(s);
    slot_bind(s, 'e', effect[w]);
    slot_bind(s, 'g', state[w]);
    tell(s, turn[w]);
    tell(s, ", and {A} got " VERY " {e}. ");
    if (tell(s, "[{A He} ran home to {A his} |{A He} hid {r=spot}, where {A he} met {A his} ]") == 0)
        tell(s, RELATED_B ". ");
    else
        tell(s, RELATED_B ", who was {e} too. \"Let us go home,\" said {B}. ");
    tell(s, "\"[Why are you so {e}|How did you get so {e}|What made you so {e}]?\" asked {C=person}. \"[I was {p at} "
            "when it happened|I stayed too long {p at}|I only wanted to see the {p}|It happened {p at}],\" " SAID " "
            "{A} " SADLY ". ");
    tell(s, "{C} [brought|gave|found] {A him} ");
    tell(s, help[w]);
    tell(s, ", and [soon|by and by|after a while|in the end] {A} was {g} again. [\"Next time I will think of the "
            "weather,\" said {A}. |\"Never go to the {p} like that again,\" said {C}. |{A} thanked {C} and slept "
            "well. ]");
}

/* " was": a need, one who cannot help, and one who can. */
static void plot_need(Scribe *s)
{
    static const char *const wish[] = {"to eat", "to drink", "to read", "to sit on", "for my mother"};
    static const char *const gift[] = {
        "[a slice of cake|a bowl of soup|an apple pie|a plate of beans]",
        "[a glass of milk|a cup of tea|a jug of water]",
        "[a book of tales|a long letter|an old newspaper]",
        "[a stool|a soft chair|a sack of hay]",
        "[a rose|a pot of jam|a bunch of daisies]",
    };
    static const char *const end[] = {
        "{A} ate it all and was not hungry any more. ",
        "{A} drank it and was not thirsty any more. ",
        "{A} read it twice and was not bored any more. ",
        "{A} sat down and soon was not tired any more. ",
        "{A} took it home, and {A his} mother was not angry any more. ",
    };
    const size_t need = tell(s, " [hungry|thirsty|bored|tired|in trouble at home]. ");
    detail(s);
    tell(s, "\"[Have you got|Could you give me|Do you have|I am looking for] something ");
    tell(s, wish[need]);
    tell(s, ",\" {A he} said to {A his} " RELATED_B " {p=at place}. \"[No, I have only {x=a item}|I am sorry, but "
            "all I have is {x=a item}],\" " SAID " {B}. \"[Ask|Try|Go and see] {C=person} {q=at place}.\" ");
    tell(s, "So {A} [went|walked|ran|hurried] to the {q}. [\"{B} sent me,\" {A he} told {C}. |{C} was there, "
            "{r=spot}. |There {A he} met {C}. ]");
    tell(s, "{C} [gave|offered|brought] {A him} ");
    tell(s, gift[need]);
    tell(s, ". ");
    tell(s, end[need]);
    tell(s, "[\"{B} had only {x a}, but {C} could help me,\" {A he} said later. |On the way back {A he} told {B}: "
            "\"{C} could help me.\" |{A} went back to the {p} and thanked {B}. ]");
}

/* " met": three people, three items, and who has what after each swap. */
static void plot_swap(Scribe *s)
{
    tell(s, " {B=person} and {C=person} {p=at place}. {A} [had|held|carried] {x=a item}, {B} had {y=a item} and {C} "
            "had {z=a item}. ");
    detail(s);
    bool more = true;
    for (int round = 1; more; round++) {
        const size_t swap = tell(s, "[\"I like your {y one},\" {A} told {B}|\"Your {z one} is nice,\" {A} told "
                                    "{C}|{B} [wanted|asked for|admired] the {z one} of {C}]");
        const char left = swap == 2 ? 'y' : 'x', right = swap == 0 ? 'y' : 'z';
        tell(s, ", so they [traded|swapped|made an exchange]. ");
        slot_copy(s, 'o', left);
        slot_copy(s, left, right);
        slot_copy(s, right, 'o');
        tell(s, swap == 0   ? "Now {A} had the {x} and {B} had the {y}. "
                : swap == 1 ? "Now {A} had the {x} and {C} had the {z}. "
                            : "Now {B} had the {y} and {C} had the {z}. ");
        more = tell(s, round < 3 ? "[2*Then |At last]" : "At last") == 0 && round < 3;
    }
    tell(s, " {A} went home with the {x}, {B} with the {y} and {C} with the {z}. ");
    const size_t who = tell(s, "\"Who has the [{x}|{y}|{z}] now?\" asked {D=person}. ");
    static const char *const answer[] = {"\"I have it,\" ", "\"{B} has it,\" ", "\"{C} has it,\" "};
    tell(s, answer[who]);
    tell(s, SAID " {A}. ");
}

/* " set off": a way with three stops, and the same way back. */
static void plot_journey(Scribe *s)
{
    tell(s, " to visit {A his} " RELATED_B " {v=at place}. [First {A he} went past|{A He} came by|{A He} had to "
            "cross] the {p=place}, then the {q=place} and then the {r=place}. ");
    detail(s);
    const size_t seen = tell(s, "[On the way|There|Soon] {A he} [saw|met|heard] {m=a animal} [{p at}|{q at}|{r at}]. ");
    slot_copy(s, 'o', seen == 0 ? 'p' : seen == 1 ? 'q' : 'r');
    tell(s, "{B} was " VERY " glad to see {A him}. \"[How was the way|What did you see|Did you meet anyone|What is "
            "new]?\" {B he} asked. \"There was {m a} {o at},\" " SAID " {A}. ");
    tell(s, "They [sang|played cards|drank tea|baked bread|told tales|danced] until [it was late,|the clock struck "
            "{n=3..9,}|the candle went out,] and {B} gave {A him} {x=a item}. ");
    tell(s, "On the way home {A} [passed|saw|came by] the {r}, the {q} and the {p}. The {m} was [gone|still "
            "{o at}|no longer {o at}]. [{A He} put the {x} {u=spot}|{A He} still has the {x}|\"{B} gave me this "
            "{x},\" {A he} told everyone]. ");
}

/* " went shopping": three goods, what they cost, and what is left. */
static void plot_errand(Scribe *s)
{
    static const char *const cost[] = {"The {x} cost {k=2..4 coins}", "the {y} cost {k=2..4 coins}",
                                       "and the {z} cost {k=2..4 coins}"};
    tell(s, " for {A his} {m=mother|father|grandmother|grandfather|teacher}. \"Bring me {x=goods}, {y=goods} and "
            "{z=goods},\" {A he} was told, \"and here are {a=13..30 coins}.\" {A He} went to the {p=place}. ");
    detail(s);
    for (size_t i = 0; i < sizeof cost / sizeof cost[0]; i++) {
        tell(s, cost[i]);
        slot_bind_number(s, 'a', slot_number(s, 'a') - slot_number(s, 'k'));
        slot_bind(s, 't', slot_number(s, 'a') == 1 ? "coin was" : "coins were");
        tell(s, i < 2 ? ", so {a} {t} left; " : ", so {a} {t} left. ");
    }
    const size_t lost = tell(s, "On the way home {A} [forgot|dropped|gave away] the [{x}|{y}|{z}]. ");
    slot_copy(s, 'f', lost == 0 ? 'x' : lost == 1 ? 'y' : 'z');
    slot_copy(s, 'g', lost == 0 ? 'y' : 'x');
    slot_copy(s, 'h', lost == 2 ? 'y' : 'z');
    tell(s, "\"I see the {g} and the {h},\" said the {m}, \"but where is the {f}?\" ");
    tell(s, "[{A He} ran back to the {p} and brought the {f}|{A He} had to go to the {p} once more, for {f}|\"I will "
            "get the {f} tomorrow,\" said {A}]. ");
}

/* " brought news": a message is passed on, truly or not. */
static void plot_message(Scribe *s)
{
    static const char *const truth[] = {"There is {x a} {r} {p at}", "The {x} is sold out {p at}",
                                        "{A} saw {x a} {r} {p at}", "Someone painted the door {p at} {x}"};
    static const char *const error[] = {"There is {y=a item} {r} {p at}", "The {y=goods} is sold out {p at}",
                                        "{A} saw {y=a animal} {r} {p at}",
                                        "Someone painted the door {p at} {y=pink|brown|gray|orange|purple}"};
    tell(s, " to {A his} " RELATED_B ". \"");
    const size_t news = tell(s, "[There is {x=a item} {r=spot} {p=at place}|The {x=goods} is sold out {p=at place}|I "
                                "saw {x=a animal} {r=spot} {p=at place}|Someone painted the door {p=at place} "
                                "{x=red|blue|green|white|yellow|black}]");
    tell(s, ",\" {A he} said. \"Tell {C=person}!\" {B} went to find {C}, who was {q=at place}. ");
    detail(s);
    const bool heard_well = tell(s, "\"[{A} sent me|I ran all the way|I hope I remember this]. ") < 2;
    tell(s, (heard_well ? truth : error)[news]);
    tell(s, ",\" {B} told {C}. ");
    if (heard_well)
        tell(s, "[\"So that is what {A} wanted to say,\" said {C}. |{C} left the {q} to see it. |\"Is that really "
                "true?\" asked {C}. But it was true. ]\"Thank you, {B}.\" ");
    else
        tell(s, "Later {C} met {A}. \"{B} told me of the {y},\" said {C}. \"[No, no|Oh dear|That is wrong],\" said "
                "{A}, \"I said {x}, not {y}!\" ");
}

/* " wanted to know who": three results, and who wins. */
static void plot_contest(Scribe *s)
{
    static const char *const result[] = {"jumped {k=5..19 feet}", "threw it {k=5..19 yards}", "caught {k=5..19 fish}",
                                         "held it for {k=5..19 seconds}"};
    static const char *const turn[] = {"First {N} ", "Then {N} ", "Last of all {N} "};
    static const char names[] = {'A', 'B', 'C'};
    const size_t sport = tell(s, " could [jump farthest|throw {x=a item} farthest|catch the most fish|hold {A his} "
                                 "breath longest]");
    tell(s, ", so {A he} asked {A his} " RELATED_B " and {C=person} to meet {A him} {p=at place}. \"The best of us "
            "gets {y=a item},\" said {B}. ");
    detail(s);
    size_t best = 0, worst = 0, score[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        slot_copy(s, 'N', names[i]);
        tell(s, turn[i]);
        tell(s, result[sport]);
        tell(s, ". ");
        score[i] = slot_number(s, 'k');
        best = score[i] > score[best] ? i : best;
        worst = score[i] < score[worst] ? i : worst;
    }
    slot_copy(s, 'W', names[best]);
    slot_copy(s, 'L', names[worst]);
    slot_bind_number(s, 'k', score[best] - score[worst]);
    if (score[best] == score[(best + 1) % 3] || score[best] == score[(best + 2) % 3])
        tell(s, "The best were equally good, so nobody got the {y}. ");
    else
        tell(s, "So {W} won, with {k} more than {L}, and took the {y} home. [\"Next time I will win,\" said {L}. "
                "|{L} was sad, but {W} let {L him} hold the {y}. |\"Well done, {W},\" said {L}. ]");
}

/* " played hide and seek": two hide, and who is found first has to count next. */
static void plot_seek(Scribe *s)
{
    static const char *const digits[] = {"1", ", 2", ", 3", ", 4", ", 5", ", 6", ", 7", ", 8", ", 9"};
    tell(s, " with {A his} " RELATED_B " and {C=person} {p=at place}. {A} had to count to {n=3..9.} \"");
    for (size_t i = 0; i < slot_number(s, 'n') && i < sizeof digits / sizeof digits[0]; i++)
        tell(s, digits[i]);
    tell(s, "!\" {B} hid {r=spot}, and {C} hid {t=spot}. {A} looked {u=spot} first, but [nobody|only {m=a animal}] "
            "was there. ");
    const bool b_first = tell(s, "Then {A he} looked [{r}|{t}]. ") == 0;
    slot_copy(s, 'F', b_first ? 'B' : 'C');
    slot_copy(s, 'G', b_first ? 'C' : 'B');
    slot_copy(s, 'v', b_first ? 't' : 'r');
    tell(s, "\"[I see you|There you are|Come out], {F}!\" {A he} [called|cried|shouted]. Now only {G} was missing. ");
    tell(s, "[\"Where can {G he} be?\" asked {F}. |{F} helped {A him} to search {p at}. |\"Help me to find {G},\" "
            "said {A} to {F}. ]At last they found {G him} {v}. ");
    tell(s, "\"{F} was found first,\" said {G} " GLADLY ", \"so {F he} has to count now.\" ");
}

/* --- a story --- */

/* The last sentence looks back to the first. */
static void closing(Scribe *s, bool weather)
{
    if (weather)
        tell(s, "[What {w a} {d} that was!|It was {w a} {d} that {A} would remember.|So ended the {w} {d}.]\n\n");
    else
        tell(s, "[What {d a} that was!|{A} never forgot that {d}.|So ended the {d}.|That was the {d} of {A}.]\n\n");
}

void grammar_story(Scribe *s)
{
    static void (*const plots[])(Scribe *) = {
        plot_lost,    plot_count,  plot_weather, plot_need,    plot_swap,
        plot_journey, plot_errand, plot_message, plot_contest, plot_seek,
    };
    const bool weather = tell(s, "[4*One {d=day|morning|afternoon|evening}|3*On a "
                                 "{w=warm|cloudy|windy|quiet|foggy|sunny|dark|lovely} "
                                 "{d=morning|afternoon|evening}|2*Last {d=spring|summer|autumn|winter|week}|2*Early "
                                 "on {d=Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday}], ") == 1;
    const size_t plot = tell(s, "{A=person}[ could not find| had| went for a walk| was| met| set off| went shopping| "
                                "brought news| wanted to know who| played hide and seek]");
    plots[plot](s);
    closing(s, weather);
}
