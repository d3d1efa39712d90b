/* openai_json.c - JSON byte by byte: the grammar in full, and of the outermost object the members
 * that a gateway acts on. State is one expectation and one bit per open bracket. */
#include "openai_scan.h"

#include <string.h>

enum {
	EXPECT_VALUE,
	EXPECT_VALUE_OR_CLOSE, /* after [ */
	EXPECT_KEY_OR_CLOSE,   /* after { */
	EXPECT_KEY,            /* after a comma in an object */
	EXPECT_COLON,
	EXPECT_COMMA_OR_CLOSE,
	EXPECT_NOTHING, /* after the outermost object */
	IN_STRING,
	IN_ESCAPE,
	IN_HEX,
	IN_WORD,
	/* numbers: what was read last */
	AT_MINUS,
	AT_ZERO,
	AT_DIGIT,
	AT_POINT,
	AT_FRACTION,
	AT_E,
	AT_SIGN,
	AT_EXPONENT,
};

enum { ROLE_OTHER, ROLE_KEY, ROLE_MODEL };

enum { MEMBER_OTHER, MEMBER_MODEL, MEMBER_STREAM, MEMBER_PROMPT };

static const struct {
	const char *key;
	uint8_t member;
} members[] = {
	{ "model", MEMBER_MODEL },   { "stream", MEMBER_STREAM }, { "messages", MEMBER_PROMPT },
	{ "prompt", MEMBER_PROMPT }, { "input", MEMBER_PROMPT },
};

/* Where the reader stands in the bytes of one feed. */
struct place {
	struct gt_openai_scan *s;
	struct gt_openai_json *j;
	const char *data, *p;
	const char *hash_from; /* bytes of the prompt that are not hashed yet */
};

static uint64_t offset(const struct place *at)
{
	return at->s->fed + (uint64_t)(at->p - at->data);
}

static bool bad(struct place *at, const char *why)
{
	return gt_openai_fault(at->s, "malformed_json", offset(at), why);
}

static bool bad_model(struct place *at, const char *why)
{
	gt_openai_fault(at->s, "bad_parameter", offset(at), why);
	at->s->fault.model = true;
	return false;
}

static bool in_object(const struct gt_openai_json *j)
{
	uint32_t at = j->depth - 1;

	return j->depth > 0 && (j->objects[at / 64] >> at % 64 & 1);
}

static void stop_hashing(struct place *at, const char *end)
{
	if (at->j->hashing)
		gt_prompt_add(at->s, at->hash_from, (size_t)(end - at->hash_from));
	at->j->hashing = false;
}

/* The byte at at->p is the last of a value, or (for numbers) was not part of it. */
static void value_ends(struct place *at)
{
	struct gt_openai_json *j = at->j;

	j->expect = j->depth ? EXPECT_COMMA_OR_CLOSE : EXPECT_NOTHING;
	if (j->depth == 1) {
		stop_hashing(at, at->p + 1);
		j->member = MEMBER_OTHER;
	}
}

/* ---- brackets ---- */

static bool open_bracket(struct place *at, bool object)
{
	struct gt_openai_json *j = at->j;
	uint32_t n = j->depth;

	if (n == GT_OPENAI_DEPTH_MAX)
		return bad(at, "nested deeper than 512 levels");
	j->objects[n / 64] &= ~(1ULL << n % 64);
	j->objects[n / 64] |= (uint64_t)object << n % 64;
	j->depth++;
	j->expect = object ? EXPECT_KEY_OR_CLOSE : EXPECT_VALUE_OR_CLOSE;
	return true;
}

static bool close_bracket(struct place *at)
{
	if (*at->p != (in_object(at->j) ? '}' : ']'))
		return bad(at, in_object(at->j) ? "a comma or } belongs here"
						: "a comma or ] belongs here");
	at->j->depth--;
	value_ends(at);
	return true;
}

/* ---- strings ---- */

static void string_begins(struct gt_openai_json *j, uint8_t role)
{
	j->role = role;
	j->key_len = 0;
	j->expect = IN_STRING;
}

/* One character of a key or of the model's name; others are not looked at. */
static void take_char(struct place *at, unsigned char c)
{
	struct gt_openai_json *j = at->j;

	if (j->role == ROLE_MODEL)
		gt_openai_name_add(&at->s->name, c);
	else if (j->role == ROLE_KEY && j->key_len < sizeof(j->key))
		j->key[j->key_len++] = (char)c;
}

static bool key_ends(struct place *at)
{
	struct gt_openai_json *j = at->j;

	j->expect = EXPECT_COLON;
	if (j->depth != 1)
		return true;
	j->member = MEMBER_OTHER;
	for (size_t i = 0; i < GT_LEN(members); i++)
		if (j->key_len == strlen(members[i].key) &&
		    !memcmp(j->key, members[i].key, j->key_len))
			j->member = members[i].member;
	/* Engines differ in which of the two they take. */
	if (j->member == MEMBER_MODEL && j->had_model)
		return bad(at, "\"model\" is given twice; keep one");
	if (j->member == MEMBER_STREAM && j->had_stream)
		return bad(at, "\"stream\" is given twice; keep one");
	j->had_model |= j->member == MEMBER_MODEL;
	j->had_stream |= j->member == MEMBER_STREAM;
	return true;
}

static bool string_ends(struct place *at)
{
	uint8_t role = at->j->role;

	if (role == ROLE_KEY)
		return key_ends(at);
	value_ends(at);
	return role != ROLE_MODEL || gt_openai_name_take(at->s, offset(at));
}

/* The first byte of a character of several: what its next byte may be (RFC 3629). */
static bool utf8_begins(struct place *at, unsigned char c)
{
	struct gt_openai_json *j = at->j;

	if (c < 0xc2 || c > 0xf4)
		return bad(at, "not UTF-8");
	j->utf8_left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	j->utf8_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	j->utf8_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	return true;
}

static bool utf8_goes_on(struct place *at, unsigned char c)
{
	struct gt_openai_json *j = at->j;

	if (c < j->utf8_low || c > j->utf8_high)
		return bad(at, "not UTF-8");
	j->utf8_left--;
	j->utf8_low = 0x80;
	j->utf8_high = 0xbf;
	return true;
}

static bool in_string(struct place *at, unsigned char c)
{
	if (at->j->utf8_left) {
		if (!utf8_goes_on(at, c))
			return false;
	} else if (c == '"') {
		return string_ends(at);
	} else if (c == '\\') {
		at->j->expect = IN_ESCAPE;
		return true;
	} else if (c < 0x20) {
		return bad(at, "a control character in a string; escape it");
	} else if (c >= 0x80 && !utf8_begins(at, c)) {
		return false;
	}
	take_char(at, c);
	return true;
}

static bool in_escape(struct place *at, char c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *known = c ? strchr(from, c) : NULL;

	if (c == 'u') {
		at->j->expect = IN_HEX;
		at->j->hex_left = 4;
		at->j->code = 0;
		return true;
	}
	if (!known)
		return bad(at, "no such escape in a string");
	take_char(at, (unsigned char)to[known - from]);
	at->j->expect = IN_STRING;
	return true;
}

static bool in_hex(struct place *at, char c)
{
	static const char digits[] = "0123456789abcdef";
	struct gt_openai_json *j = at->j;
	const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

	if (!digit)
		return bad(at, "\\u wants four hexadecimal digits");
	j->code = (uint16_t)(j->code << 4 | (digit - digits));
	if (--j->hex_left)
		return true;
	/* No known key and no model's name has a character beyond ASCII. */
	take_char(at, j->code < 0x80 ? (unsigned char)j->code : 0xff);
	j->expect = IN_STRING;
	return true;
}

/* ---- values ---- */

static bool word_begins(struct place *at, const char *word)
{
	at->j->is_true = *word == 't';
	at->j->word = word + 1;
	at->j->expect = IN_WORD;
	return true;
}

static bool in_word(struct place *at, char c)
{
	struct gt_openai_json *j = at->j;

	if (c != *j->word)
		return bad(at, "no JSON value begins like this");
	if (*++j->word)
		return true;
	if (j->depth == 1 && j->member == MEMBER_STREAM)
		at->s->ask.stream = j->is_true;
	value_ends(at);
	return true;
}

static bool number_begins(struct place *at, char c)
{
	at->j->expect = c == '-' ? AT_MINUS : c == '0' ? AT_ZERO : AT_DIGIT;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What follows in a number; 0 = it ends before c. */
static uint8_t number_next(uint8_t now, char c)
{
	bool e = c == 'e' || c == 'E';

	switch (now) {
	case AT_MINUS:
		return c == '0' ? AT_ZERO : is_digit(c) ? AT_DIGIT : 0;
	case AT_ZERO:
		return c == '.' ? AT_POINT : e ? AT_E : 0;
	case AT_DIGIT:
		return is_digit(c) ? AT_DIGIT : c == '.' ? AT_POINT : e ? AT_E : 0;
	case AT_POINT:
		return is_digit(c) ? AT_FRACTION : 0;
	case AT_FRACTION:
		return is_digit(c) ? AT_FRACTION : e ? AT_E : 0;
	case AT_E:
		return c == '+' || c == '-' ? AT_SIGN : is_digit(c) ? AT_EXPONENT : 0;
	default:
		return is_digit(c) ? AT_EXPONENT : 0;
	}
}

static bool value_begins(struct place *at, char c)
{
	static const char *const words[] = { "true", "false", "null" };
	struct gt_openai_json *j = at->j;
	bool top = j->depth == 1;

	if (!j->depth && c != '{')
		return bad(at, "the body must be a JSON object");
	if (top && j->member == MEMBER_MODEL && c != '"')
		return bad_model(at, "write the name of a model as a string");
	if (top && j->member == MEMBER_PROMPT && c && strchr("\"[{", c)) {
		j->hashing = true;
		at->hash_from = at->p;
	}
	if (c == '{' || c == '[')
		return open_bracket(at, c == '{');
	if (c == '"') {
		string_begins(j, top && j->member == MEMBER_MODEL ? ROLE_MODEL : ROLE_OTHER);
		return true;
	}
	for (size_t i = 0; i < GT_LEN(words); i++)
		if (c == words[i][0])
			return word_begins(at, words[i]);
	if (c == '-' || is_digit(c))
		return number_begins(at, c);
	return bad(at, "a value belongs here");
}

static bool key_begins(struct place *at, char c)
{
	if (c != '"')
		return bad(at, "the name of a member belongs here, in double quotes");
	string_begins(at->j, ROLE_KEY);
	return true;
}

/* Between tokens; c is no blank. */
static bool token(struct place *at, char c)
{
	struct gt_openai_json *j = at->j;

	switch (j->expect) {
	case EXPECT_VALUE:
		return value_begins(at, c);
	case EXPECT_VALUE_OR_CLOSE:
		return c == ']' ? close_bracket(at) : value_begins(at, c);
	case EXPECT_KEY_OR_CLOSE:
		return c == '}' ? close_bracket(at) : key_begins(at, c);
	case EXPECT_KEY:
		return key_begins(at, c);
	case EXPECT_COLON:
		j->expect = EXPECT_VALUE;
		return c == ':' || bad(at, "a colon belongs here");
	case EXPECT_COMMA_OR_CLOSE:
		if (c != ',')
			return close_bracket(at);
		j->expect = in_object(j) ? EXPECT_KEY : EXPECT_VALUE;
		return true;
	default:
		return bad(at, "something follows the JSON object");
	}
}

static bool step(struct place *at)
{
	struct gt_openai_json *j = at->j;
	char c = *at->p;

	if (j->expect >= AT_MINUS) {
		uint8_t next = number_next(j->expect, c);

		if (next) {
			j->expect = next;
			return true;
		}
		if (j->expect != AT_ZERO && j->expect != AT_DIGIT && j->expect != AT_FRACTION &&
		    j->expect != AT_EXPONENT)
			return bad(at, "a digit belongs here");
		value_ends(at);
	}
	switch (j->expect) {
	case IN_STRING:
		return in_string(at, (unsigned char)c);
	case IN_ESCAPE:
		return in_escape(at, c);
	case IN_HEX:
		return in_hex(at, c);
	case IN_WORD:
		return in_word(at, c);
	default:
		return c == ' ' || c == '\n' || c == '\r' || c == '\t' || token(at, c);
	}
}

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Are eight bytes plain characters of a string? Of ASCII bytes less n those that were below n have
 * their high bit set (a borrow may set more: then they are looked at one by one). */
static bool all_plain(uint64_t v)
{
	uint64_t quote = v ^ EACH('"'), backslash = v ^ EACH('\\');

	return !((v | (v - EACH(0x20)) | (quote - EACH(1)) | (backslash - EACH(1))) & EACH(0x80));
}

static bool goes_on(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* The length of a character of two or three bytes for which RFC 3629 has no special rule; 0 = of
 * another one, or it is cut. */
static size_t common_char(const char *p, const char *end)
{
	unsigned char lead = (unsigned char)*p;

	if (lead >= 0xe1 && lead <= 0xec)
		return end - p >= 3 && goes_on(p[1]) && goes_on(p[2]) ? 3 : 0;
	return lead >= 0xc2 && lead <= 0xdf && end - p >= 2 && goes_on(p[1]) ? 2 : 0;
}

/* Most bytes of a large body are plain characters of a string that nobody looks at. */
static const char *skip_plain(const char *p, const char *end)
{
	uint64_t word;
	size_t n = 1;

	while (end - p >= 8) {
		memcpy(&word, p, sizeof(word));
		if (!all_plain(word))
			break;
		p += 8;
	}
	while (p < end && n) {
		if ((unsigned char)*p < 0x80)
			n = (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\';
		else
			n = common_char(p, end);
		p += n;
	}
	return p;
}

/* Only keys of the outermost object and the model's name are. */
static bool looked_at(const struct gt_openai_json *j)
{
	return j->role != ROLE_OTHER && j->depth == 1;
}

bool gt_openai_json_feed(struct gt_openai_scan *s, const char *data, size_t len)
{
	struct gt_openai_json *j = &s->json;
	struct place at = { .s = s, .j = j, .data = data, .p = data, .hash_from = data };
	const char *end = data + len;

	for (; at.p < end; at.p++) {
		if (j->expect == IN_STRING && !looked_at(j) && !j->utf8_left) {
			at.p = skip_plain(at.p, end);
			if (at.p == end)
				break;
		}
		if (!step(&at))
			return false;
	}
	if (j->hashing)
		gt_prompt_add(s, at.hash_from, (size_t)(end - at.hash_from));
	return true;
}

bool gt_openai_json_end(struct gt_openai_scan *s)
{
	if (s->json.expect == EXPECT_NOTHING)
		return true;
	return gt_openai_fault(s, "malformed_json", s->fed,
			       s->json.depth ? "the body ends inside its JSON object"
					     : "the body must be a JSON object");
}
