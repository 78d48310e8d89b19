/*
 * Selectors: the two query-string grammars, label selectors and field selectors.
 *
 * The label grammar is upstream's, token by token, so that the same texts are accepted and the same
 * errors come back: `in` and `notin` are words only where an operator may stand, "a in (,)" holds
 * the empty value, "a=" means the empty value. Upstream: apimachinery labels/selector.go,
 * fields/selector.go. Tests: tests/cases/selector.test, tests/fuzz/selector_fuzz.c
 */
#include "common/selector_build.h"

#include "common/limits.h"
#include "common/names.h"

enum token {
    T_END,
    T_WORD,
    T_IN,
    T_NOT_IN,
    T_EQUAL,
    T_EQUAL_2,
    T_NOT_EQUAL,
    T_GREATER,
    T_LESS,
    T_COMMA,
    T_OPEN,
    T_CLOSE,
    T_NOT,
    T_ERROR,
};

struct lexer {
    struct str rest;
    struct error *err;
    struct str text; /* of the last token; for T_ERROR the odd characters */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_symbol(char c)
{
    return c && strchr("=!(),><", c);
}

static enum token symbol_token(struct str s)
{
    static const struct {
        const char *text;
        enum token token;
    } symbols[] = {{"=", T_EQUAL}, {"==", T_EQUAL_2}, {"!=", T_NOT_EQUAL}, {">", T_GREATER},
        {"<", T_LESS}, {",", T_COMMA}, {"(", T_OPEN}, {")", T_CLOSE}, {"!", T_NOT}};
    for (size_t i = 0; i < ARRAY_COUNT(symbols); i++)
        if (str_eqc(s, symbols[i].text))
            return symbols[i].token;
    return T_ERROR;
}

/* The token at the front of `rest` and its length. Every single symbol is a token. */
static enum token read_token(struct str *rest, struct str *ret_text)
{
    while (rest->n > 0 && is_space(rest->p[0]))
        *rest = str_range(rest->p + 1, rest->n - 1);
    *ret_text = str_range(rest->p, 0);
    if (rest->n == 0)
        return T_END;
    enum token token = T_WORD;
    size_t n = 0;
    if (is_symbol(rest->p[0])) {
        n = rest->n > 1 && symbol_token(str_range(rest->p, 2)) != T_ERROR ? 2 : 1;
        token = symbol_token(str_range(rest->p, n));
    } else {
        while (n < rest->n && !is_symbol(rest->p[n]) && !is_space(rest->p[n]))
            n++;
        struct str word = str_range(rest->p, n);
        token = str_eq(word, STR("in")) ? T_IN : str_eq(word, STR("notin")) ? T_NOT_IN : T_WORD;
    }
    *ret_text = str_range(rest->p, n);
    *rest = str_range(rest->p + n, rest->n - n);
    return token;
}

static enum token as_value(enum token token)
{
    return token == T_IN || token == T_NOT_IN ? T_WORD : token;
}

/* words: in and notin are plain words here. */
static enum token consume(struct lexer *l, bool words)
{
    enum token token = read_token(&l->rest, &l->text);
    return words ? as_value(token) : token;
}

static enum token look(struct lexer *l, struct str *ret_text)
{
    struct str rest = l->rest;
    return as_value(read_token(&rest, ret_text));
}

static int found(struct lexer *l, struct str text, const char *expected)
{
    return error_set(l->err, ERR_BAD_REQUEST, "found '%.*s'%s", text.n > 100 ? 100 : (int)text.n,
        text.p ? text.p : "", expected);
}

static int parse_value_list(struct lexer *l, struct requirement *t)
{
    struct str text;
    for (;;) {
        enum token token = consume(l, true);
        if (token == T_WORD) {
            requirement_add_value(t, l->text);
            token = look(l, &text);
            if (token == T_CLOSE)
                return 0;
            if (token != T_COMMA)
                return found(l, text, ", expected: ',' or ')'");
        } else if (token == T_COMMA) {
            if (t->value_count == 0)
                requirement_add_value(t, STR("")); /* "(," */
            token = look(l, &text);
            if (token == T_CLOSE) {
                requirement_add_value(t, STR("")); /* ",)" */
                return 0;
            }
            if (token == T_COMMA) {
                consume(l, true);
                requirement_add_value(t, STR("")); /* ",," */
            }
        } else {
            return found(l, l->text, ", expected: ',', or identifier");
        }
        if (t->value_count > LIMIT_SELECTOR_TERMS)
            return error_set(
                l->err, ERR_TOO_LARGE, "more than %d values in a selector", LIMIT_SELECTOR_TERMS);
    }
}

static int parse_values(struct lexer *l, struct requirement *t)
{
    struct str text;
    if (consume(l, true) != T_OPEN)
        return found(l, l->text, " expected: '('");
    enum token token = look(l, &text);
    if (token == T_CLOSE) {
        consume(l, true);
        requirement_add_value(t, STR(""));
        return 0;
    }
    if (token != T_WORD && token != T_COMMA)
        return found(l, text, ", expected: ',', ')' or identifier");
    int r = parse_value_list(l, t);
    if (r == 0 && consume(l, true) != T_CLOSE)
        return found(l, l->text, ", expected: ')'");
    return r;
}

static int parse_exact_value(struct lexer *l, struct requirement *t)
{
    struct str text;
    enum token token = look(l, &text);
    if (token == T_END || token == T_COMMA) {
        requirement_add_value(t, STR(""));
        return 0;
    }
    if (consume(l, true) != T_WORD)
        return found(l, l->text, ", expected: identifier");
    requirement_add_value(t, l->text);
    return 0;
}

/* The operator behind a key, and its values. */
static int parse_operation(struct lexer *l, struct requirement *t)
{
    switch (consume(l, false)) {
    case T_IN:
        t->op = SEL_IN;
        return parse_values(l, t);
    case T_NOT_IN:
        t->op = SEL_NOT_IN;
        return parse_values(l, t);
    case T_EQUAL:
    case T_EQUAL_2:
        t->op = SEL_IN;
        return parse_exact_value(l, t);
    case T_NOT_EQUAL:
        t->op = SEL_NOT_IN;
        return parse_exact_value(l, t);
    case T_GREATER:
        t->op = SEL_GT;
        return parse_exact_value(l, t);
    case T_LESS:
        t->op = SEL_LT;
        return parse_exact_value(l, t);
    default:
        return found(l, l->text, ", expected: in, notin, =, ==, !=, gt, lt");
    }
}

static int parse_requirement(struct lexer *l, struct selector *s)
{
    struct str text;
    enum token token = consume(l, true);
    bool negated = token == T_NOT;

    if (negated)
        token = consume(l, true);
    if (token != T_WORD)
        return found(l, l->text, ", expected: identifier");
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    if (!name_is_qualified(l->text, &why))
        return error_set(l->err, ERR_BAD_REQUEST, "<nil>: Invalid value: \"%.*s\": %s",
            l->text.n > 200 ? 200 : (int)l->text.n, l->text.p, why.data);
    struct requirement *t = selector_add_term(s, l->text, negated ? SEL_NOT_EXISTS : SEL_EXISTS);
    token = look(l, &text);
    if (negated || token == T_END || token == T_COMMA)
        return 0;
    int r = parse_operation(l, t);
    return r < 0 ? r : requirement_check(t, l->err);
}

static int parse_terms(struct lexer *l, struct selector *s)
{
    struct str text;
    for (;;) {
        enum token token = look(l, &text);
        if (token == T_END)
            return 0;
        if (token != T_WORD && token != T_NOT)
            return found(l, text, ", expected: !, identifier, or 'end of string'");
        if (s->term_count >= LIMIT_SELECTOR_TERMS)
            return error_set(l->err, ERR_TOO_LARGE, "more than %d requirements in a selector",
                LIMIT_SELECTOR_TERMS);
        int r = parse_requirement(l, s);
        if (r < 0)
            return error_wrap(l->err, "unable to parse requirement");
        token = consume(l, true);
        if (token == T_END)
            return 0;
        if (token != T_COMMA)
            return found(l, l->text, ", expected: ',' or 'end of string'");
        token = look(l, &text);
        if (token != T_WORD && token != T_NOT)
            return found(l, text, ", expected: identifier after ','");
    }
}

static int finish(struct selector *s, int r, struct selector **ret)
{
    if (r < 0) {
        selector_free(s);
        return r;
    }
    selector_finish(s);
    *ret = s;
    return 0;
}

int selector_parse(struct str text, struct selector **ret, struct error *err)
{
    struct lexer l = {.rest = text, .err = err};
    struct selector *s = xcalloc(1, sizeof(*s));
    if (str_find(text, '\0') >= 0) {
        selector_free(s);
        return error_set(err, ERR_BAD_REQUEST, "unable to parse requirement: NUL in the selector");
    }
    return finish(s, parse_terms(&l, s), ret);
}

/* Field selectors */

/* The part up to an unescaped comma; false at the end. */
static bool next_field_term(struct str *rest, struct str *ret)
{
    size_t i = 0;
    if (rest->n == 0)
        return false;
    while (i < rest->n && rest->p[i] != ',')
        i += rest->p[i] == '\\' && i + 1 < rest->n ? 2 : 1;
    *ret = str_range(rest->p, i);
    *rest = i < rest->n ? str_range(rest->p + i + 1, rest->n - i - 1) : str_range(rest->p + i, 0);
    return true;
}

/* Position and length of the operator, or false. */
static bool find_field_op(struct str term, size_t *ret_at, size_t *ret_n, enum selector_op *ret_op)
{
    for (size_t i = 0; i < term.n; i++) {
        if (term.p[i] == '!' && i + 1 < term.n && term.p[i + 1] == '=') {
            *ret_at = i;
            *ret_n = 2;
            *ret_op = SEL_NOT_IN;
            return true;
        }
        if (term.p[i] == '=') {
            *ret_at = i;
            *ret_n = i + 1 < term.n && term.p[i + 1] == '=' ? 2 : 1;
            *ret_op = SEL_IN;
            return true;
        }
    }
    return false;
}

static int unescape(struct str value, struct strbuf *out, struct error *err)
{
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == ',' || c == '=')
            return error_set(err, ERR_BAD_REQUEST,
                "invalid field selector: unescaped character in value: %c", c);
        if (c == '\\') {
            char next = i + 1 < value.n ? value.p[i + 1] : '\0';
            if (next != '\\' && next != ',' && next != '=')
                return error_set(err, ERR_BAD_REQUEST,
                    "invalid field selector: invalid escape sequence: \\%.*s", next ? 1 : 0, &next);
            c = next;
            i++;
        }
        strbuf_add_char(out, c);
    }
    return 0;
}

static int parse_field_terms(struct str text, struct selector *s, struct error *err)
{
    struct str rest = text, term;
    while (next_field_term(&rest, &term)) {
        size_t at, n;
        enum selector_op op;
        if (term.n == 0)
            continue;
        if (!find_field_op(term, &at, &n, &op))
            return error_set(err, ERR_BAD_REQUEST,
                "invalid selector: '%.*s'; can't understand '%.*s'",
                text.n > 200 ? 200 : (int)text.n, text.p, term.n > 200 ? 200 : (int)term.n, term.p);
        if (s->term_count >= LIMIT_SELECTOR_TERMS)
            return error_set(
                err, ERR_TOO_LARGE, "more than %d terms in a field selector", LIMIT_SELECTOR_TERMS);
        autostrbuf struct strbuf value = STRBUF_EMPTY;
        int r = unescape(str_range(term.p + at + n, term.n - at - n), &value, err);
        if (r < 0)
            return r;
        requirement_add_value(selector_add_term(s, str_range(term.p, at), op), strbuf_str(&value));
    }
    return 0;
}

int field_selector_parse(struct str text, struct selector **ret, struct error *err)
{
    struct selector *s = xcalloc(1, sizeof(*s));
    if (str_find(text, '\0') >= 0) {
        selector_free(s);
        return error_set(err, ERR_BAD_REQUEST, "invalid field selector: NUL in the selector");
    }
    return finish(s, parse_field_terms(text, s, err), ret);
}
