/*
 * YAML printing: block style as kubectl's -o yaml: two spaces a level, lists at their key's level,
 * keys sorted, text of several lines as a literal block.
 *
 * A string is plain when it can be nothing else to a YAML 1.1 reader; in double quotes when it
 * would be read as another type or holds unprintable characters; else in single quotes.
 */
#include "common/yaml.h"

#include "common/json_scan.h"
#include "common/yaml_scalar.h"

#define SIMPLE_KEY_BYTES_MAX 1000

static void add_indent(struct strbuf *out, int indent)
{
    char *room = strbuf_reserve(out, (size_t)indent);
    if (!room)
        return;
    memset(room, ' ', (size_t)indent);
    strbuf_commit(out, (size_t)indent);
}

/* Printable in the sense of YAML: no controls but tab and line feed, no BOM, no C1, no line
 * separators. */
static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        size_t n = json_utf8_length(p, s.n - i);
        if (n == 0 || (p[0] < 0x20 && p[0] != '\n' && p[0] != '\t') || p[0] == 0x7f ||
            (p[0] == 0xc2 && p[1] < 0xa0) || (n == 3 && !memcmp(p, "\xef\xbb\xbf", 3)) ||
            (n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] & 0xfe) == 0xa8))
            return false;
        i += n;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\0';
}

/* Characters and positions that mean something else in block context. */
static bool is_plain_text(struct str s)
{
    char first = s.p[0], second = s.n > 1 ? s.p[1] : '\0';
    if (strchr("#,[]{}&*!|>'\"%@`", first) || (strchr("-?:", first) && is_blank(second)))
        return false;
    if (is_blank(first) || is_blank(s.p[s.n - 1]) || str_starts(s, STR("---")) ||
        str_starts(s, STR("...")))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char next = i + 1 < s.n ? s.p[i + 1] : '\0';
        if (s.p[i] == '\n' || (s.p[i] == ':' && is_blank(next)) ||
            (is_blank(s.p[i]) && next == '#'))
            return false;
    }
    return true;
}

/* "1:30" and the like, which YAML 1.1 readers take for base 60. */
static bool is_base60(struct str s)
{
    bool colon = false;
    if (s.n == 0 || !strchr("+-0123456789", s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++) {
        if (!strchr("0123456789_:.", s.p[i]) || !s.p[i])
            return false;
        colon |= s.p[i] == ':';
    }
    return colon;
}

static void print_double_quoted(struct str s, struct strbuf *out)
{
    strbuf_add_char(out, '"');
    for (size_t i = 0; i < s.n;) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        size_t n = json_utf8_length(p, s.n - i);
        n = n ? n : 1;
        if (*p == '"' || *p == '\\')
            strbuf_addf(out, "\\%c", *p);
        else if (*p == '\n' || *p == '\t' || *p == '\r')
            strbuf_addc(out, *p == '\n' ? "\\n" : *p == '\t' ? "\\t" : "\\r");
        else if (n == 1 && (*p < 0x20 || *p >= 0x7f))
            strbuf_addf(out, "\\x%02X", *p);
        else if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)
            strbuf_addf(out, "\\x%02X", p[1]);
        else if (n == 3 && !is_printable(str_range(s.p + i, 3)))
            strbuf_addc(out, p[0] == 0xef ? "\\uFEFF" : p[2] == 0xa8 ? "\\L" : "\\P");
        else
            strbuf_add(out, str_range(s.p + i, n));
        i += n;
    }
    strbuf_add_char(out, '"');
}

static void print_single_quoted(struct str s, struct strbuf *out)
{
    strbuf_add_char(out, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'')
            strbuf_add_char(out, '\'');
        strbuf_add_char(out, s.p[i]);
    }
    strbuf_add_char(out, '\'');
}

static void print_inline_string(struct str s, struct strbuf *out)
{
    if (s.n == 0 || yaml_resolve(s).kind != YAML_STRING || str_eq(s, STR("<<")) || is_base60(s) ||
        !is_printable(s) || str_find(s, '\n') >= 0 || str_find(s, '\t') >= 0)
        print_double_quoted(s, out);
    else if (is_plain_text(s))
        strbuf_add(out, s);
    else
        print_single_quoted(s, out);
}

/* A literal block keeps everything but blanks before a line's end and needs an indicator for
 * leading ones. */
static bool fits_literal(struct str s)
{
    if (str_find(s, '\n') < 0 || !is_printable(s) || is_blank(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (s.p[i] == '\n' && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t'))
            return false;
    return s.p[s.n - 1] != ' ' && s.p[s.n - 1] != '\t';
}

static void print_literal(struct str s, int indent, struct strbuf *out)
{
    struct str rest = s;
    bool ends = s.p[s.n - 1] == '\n', doubled = ends && s.n > 1 && s.p[s.n - 2] == '\n';

    strbuf_addc(out, !ends ? "|-" : doubled ? "|+" : "|");
    if (ends)
        rest.n--;
    for (;;) {
        ssize_t end = str_find(rest, '\n');
        struct str line = str_range(rest.p, end < 0 ? rest.n : (size_t)end);
        strbuf_add_char(out, '\n');
        if (line.n) {
            add_indent(out, indent);
            strbuf_add(out, line);
        }
        if (end < 0)
            break;
        rest = str_range(rest.p + end + 1, rest.n - (size_t)end - 1);
    }
}

static void print_scalar(const cJSON *item, int indent, struct strbuf *out)
{
    if (!cJSON_IsString(item)) {
        json_print(item, out); /* numbers, words, and {} or [] when empty */
        return;
    }
    struct str s = str_of(item->valuestring);
    if (fits_literal(s))
        print_literal(s, indent, out);
    else
        print_inline_string(s, out);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static void print_block(const cJSON *item, int indent, bool at_start, struct strbuf *out);

static void print_key(const char *name, struct strbuf *out)
{
    struct str key = str_of(name);
    if (key.n > SIMPLE_KEY_BYTES_MAX)
        strbuf_addc(out, "? ");
    print_inline_string(key, out);
}

static void print_member(const cJSON *member, int indent, struct strbuf *out)
{
    print_key(member->string, out);
    if (strlen(member->string) > SIMPLE_KEY_BYTES_MAX) {
        strbuf_add_char(out, '\n');
        add_indent(out, indent);
    }
    strbuf_add_char(out, ':');
    if (!member->child) {
        strbuf_add_char(out, ' ');
        print_scalar(member, indent + 2, out);
        strbuf_add_char(out, '\n');
        return;
    }
    strbuf_add_char(out, '\n');
    print_block(member, cJSON_IsArray(member) ? indent : indent + 2, false, out);
}

static void print_mapping(const cJSON *item, int indent, bool at_start, struct strbuf *out)
{
    size_t n = 0, i = 0;
    for (const cJSON *c = item->child; c; c = c->next)
        n++;
    autofree const cJSON **members = xmalloc(n * sizeof(*members));
    for (const cJSON *c = item->child; c; c = c->next)
        members[i++] = c;
    qsort(members, n, sizeof(*members), name_cmp);
    for (i = 0; i < n; i++) {
        if (i || !at_start)
            add_indent(out, indent);
        print_member(members[i], indent, out);
    }
}

static void print_list(const cJSON *item, int indent, bool at_start, struct strbuf *out)
{
    bool first = true;
    for (const cJSON *c = item->child; c; c = c->next, first = false) {
        if (!first || !at_start)
            add_indent(out, indent);
        strbuf_addc(out, "- ");
        if (c->child) {
            print_block(c, indent + 2, true, out);
        } else {
            print_scalar(c, indent + 2, out);
            strbuf_add_char(out, '\n');
        }
    }
}

/* at_start: the cursor already stands at the indentation (behind "- "). */
static void print_block(const cJSON *item, int indent, bool at_start, struct strbuf *out)
{
    if (cJSON_IsArray(item))
        print_list(item, indent, at_start, out);
    else
        print_mapping(item, indent, at_start, out);
}

void yaml_print(const cJSON *tree, struct strbuf *out)
{
    if (tree && tree->child) {
        print_block(tree, 0, false, out);
        return;
    }
    if (tree)
        print_scalar(tree, 2, out);
    else
        strbuf_addc(out, "null");
    strbuf_add_char(out, '\n');
}
