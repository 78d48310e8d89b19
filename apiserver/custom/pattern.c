/*
 * Patterns of custom schemas: Go's regular expressions (RE2 syntax) on PCRE2.
 *
 * What RE2 refuses is refused here with Go's words: look-around, back references, possessive and
 * atomic groups, recursion, verbs; repeats above 1000. RE2 takes time linear in the text, PCRE2 may
 * backtrack without end: the steps of one match are bounded, and a match that runs into the bound
 * counts as a failure of its own (about 25 ms; real patterns take microseconds).
 *
 * Differences: \s includes the vertical tab.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "apiserver/custom/node.h"
#include "common/limits.h"

/* Of one match, about 25 ns each. PCRE2 counts them anew at each place where a match could start.
 */
#define STEPS_MAX 1000000
#define REPEAT_MAX 1000

struct pattern {
    const char *text;
    pcre2_code *code;
    bool anchored; /* can start at the text's start only */
};

static void free_code(void *arg)
{
    struct pattern *p = arg;
    pcre2_code_free(p->code);
}

/* --- what RE2 does not know --- */

static int refuse(struct error *err, const char *what, const char *from, size_t n)
{
    return error_set(err, ERR_INVALID, "error parsing regexp: %s: `%.*s`", what, (int)n, from);
}

/* Behind "(?": flags, a name, or a plain group. */
static int check_group(const char *at, struct error *err)
{
    static const char unsupported[] = "invalid or unsupported Perl syntax";
    const char *p = at + 2;
    if (*p == 'P' || *p == '<') {
        const char *name = p + (*p == 'P' ? 2 : 1);
        if ((*p == 'P' && p[1] != '<') || *name == '=' || *name == '!')
            return refuse(err, unsupported, at, *p == '<' ? 4 : 3);
        return 0;
    }
    while (*p && strchr("imsU-", *p))
        p++;
    if (*p != ':' && *p != ')')
        return refuse(err, unsupported, at, (size_t)(p - at) + (*p ? 1 : 0));
    return 0;
}

static int check_escape(const char *at, bool in_class, struct error *err)
{
    static const char known[] = "AbBzdDsSwWpPQEaftnrvx0123456789";
    char c = at[1];
    if (!c)
        return refuse(err, "trailing backslash at end of expression", "", 0);
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    /* \1 to \7 are octal only with more digits behind them. */
    bool reference = c >= '1' && c <= '9' && (c >= '8' || at[2] < '0' || at[2] > '7');
    if ((letter && !strchr(known, c)) || reference || (in_class && letter && strchr("AbBzE", c)))
        return refuse(err, "invalid escape sequence", at, 2);
    return 0;
}

/* {n}, {n,}, {n,m}; anything else is plain text. Returns its length, 0: plain. */
static size_t repeat_length(const char *at, struct error *err, bool *ret_bad)
{
    char *end;
    const char *p = at + 1;
    long high = 0, low = strtol(p, &end, 10);
    *ret_bad = false;
    if (end == p || *p == '-' || *p == '+' || *p == ' ')
        return 0;
    p = end;
    high = low;
    if (*p == ',') {
        p++;
        if (*p != '}') {
            high = strtol(p, &end, 10);
            if (end == p || *p == '-' || *p == '+' || *p == ' ')
                return 0;
            p = end;
        }
    }
    if (*p != '}')
        return 0;
    p++;
    if (low > REPEAT_MAX || high > REPEAT_MAX || high < low) {
        *ret_bad = true;
        refuse(err, "invalid repeat count", at, (size_t)(p - at));
    }
    return (size_t)(p - at);
}

static const char *skip_class(const char *p, struct error *err)
{
    const char *start = p++;
    if (*p == '^')
        p++;
    if (*p == ']')
        p++;
    while (*p && *p != ']') {
        if (*p == '\\') {
            if (check_escape(p, true, err) < 0)
                return NULL;
            p += 2;
        } else if (p[0] == '[' && p[1] == ':' && strstr(p + 2, ":]")) {
            p = strstr(p + 2, ":]") + 2;
        } else {
            p++;
        }
    }
    if (!*p) {
        refuse(err, "missing closing ]", start, strlen(start));
        return NULL;
    }
    return p + 1;
}

static int check_syntax(const char *text, struct error *err)
{
    const char *p = text, *repeat = NULL; /* where the repetition right before p starts */
    while (*p) {
        const char *at = p;
        bool bad = false, repeats = false;
        size_t n;
        if (*p == '\\') {
            if (p[1] == 'Q') {
                const char *end = strstr(p, "\\E");
                p = end ? end + 2 : p + strlen(p);
                repeat = NULL;
                continue;
            }
            if (check_escape(p, false, err) < 0)
                return -err->code;
            p += 2;
        } else if (*p == '[') {
            if (!(p = skip_class(p, err)))
                return -err->code;
        } else if (*p == '(' && p[1] == '?') {
            if (check_group(p, err) < 0)
                return -err->code;
            p += 2;
        } else if (*p == '(' && p[1] == '*') {
            return refuse(err, "missing argument to repetition operator", p + 1, 1);
        } else if (*p == '*' || *p == '+' || *p == '?') {
            repeats = true;
            p++;
        } else if (*p == '{' && (n = repeat_length(p, err, &bad)) > 0) {
            if (bad)
                return -err->code;
            repeats = true;
            p += n;
        } else {
            p++;
        }
        if (!repeats) {
            repeat = NULL;
            continue;
        }
        if (repeat)
            return refuse(err, "invalid nested repetition operator", repeat, (size_t)(p - repeat));
        if (*p == '?')
            p++;
        repeat = at;
    }
    return 0;
}

/* --- compiling --- */

static int build(const char *text, pcre2_code **ret, struct error *err)
{
    int code;
    PCRE2_SIZE offset;
    *ret = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE, &code,
        &offset, NULL);
    if (*ret)
        return 0;
    static const struct {
        int code;
        const char *words;
        bool whole; /* the pattern is shown, not what follows the place */
    } texts[] = {
        {PCRE2_ERROR_MISSING_CLOSING_PARENTHESIS, "missing closing )", true},
        {PCRE2_ERROR_UNMATCHED_CLOSING_PARENTHESIS, "unexpected )", true},
        {PCRE2_ERROR_QUANTIFIER_INVALID, "missing argument to repetition operator", false},
        {PCRE2_ERROR_CLASS_RANGE_ORDER, "invalid character class range", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (texts[i].code == code)
            return error_set(err, ERR_INVALID, "error parsing regexp: %s: `%s`", texts[i].words,
                texts[i].whole || offset > strlen(text) ? text : text + offset);
    PCRE2_UCHAR why[160];
    pcre2_get_error_message(code, why, sizeof(why));
    return error_set(err, ERR_INVALID, "error parsing regexp: %s: `%s`", (const char *)why,
        offset < strlen(text) ? text + offset : text);
}

/* PCRE2's \v is a class, Go's the vertical tab. */
static char *spell(const char *text)
{
    struct strbuf out;
    strbuf_init(&out, 0);
    for (const char *p = text; *p; p++) {
        if (p[0] == '\\' && p[1] == 'v') {
            strbuf_addc(&out, "\\x0b");
            p++;
        } else {
            strbuf_add_char(&out, *p);
            if (p[0] == '\\' && p[1])
                strbuf_add_char(&out, *++p);
        }
    }
    return strbuf_steal(&out);
}

int pattern_compile(struct arena *a, const char *text, struct pattern **ret, struct error *err)
{
    if (strlen(text) > LIMIT_CUSTOM_PATTERN_BYTES)
        return error_set(err, ERR_INVALID, "patterns of more than %d bytes are not taken",
            LIMIT_CUSTOM_PATTERN_BYTES);
    if (check_syntax(text, err) < 0)
        return -err->code;
    autofree char *spelled = *text ? spell(text) : xstrdup("");
    struct pattern *p = arena_zalloc(a, sizeof(*p));
    uint32_t options = 0;
    p->text = arena_strdup(a, str_of(text));
    arena_on_free(a, free_code, p);
    if (build(spelled, &p->code, err) < 0)
        return -err->code;
    pcre2_pattern_info(p->code, PCRE2_INFO_ALLOPTIONS, &options);
    p->anchored = options & PCRE2_ANCHORED;
    *ret = p;
    return 0;
}

const char *pattern_text(const struct pattern *p)
{
    return p->text;
}

/* --- matching --- */

int pattern_matches(const struct pattern *p, const char *text)
{
    size_t n = strlen(text), starts = p->anchored ? 1 : n + 1;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(
        context, (uint32_t)(STEPS_MAX / (starts < STEPS_MAX ? starts : STEPS_MAX)));
    int r = pcre2_match(p->code, (PCRE2_SPTR)text, n, 0, PCRE2_NO_UTF_CHECK, data, context);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return r >= 0 ? 1 : r == PCRE2_ERROR_NOMATCH ? 0 : -1;
}
