/* http1_names.c - the tables of the HTTP/1.1 codec: characters, header names, reasons. */
#include "http1_priv.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* O: what a Host may hold too; not what could end it early elsewhere: / ? # @ \ , " < > */
#define O  H1_HOST
#define T  (H1_TCHAR | H1_TEXT | O)
#define TN (H1_TCHAR | H1_TEXT)
#define X  (H1_TCHAR | H1_TEXT | H1_HEX | O)
#define V  H1_TEXT
#define VO (H1_TEXT | O)
const uint8_t gt_h1_class[256] = {
	['\t'] = V,          [' '] = V,          ['!'] = T,          ['"'] = V,
	['#'] = TN,          ['$' ... '\''] = T, ['(' ... ')'] = VO, ['*' ... '+'] = T,
	[','] = V,           ['-' ... '.'] = T,  ['/'] = V,          ['0' ... '9'] = X,
	[':' ... ';'] = VO,  ['<'] = V,          ['='] = VO,         ['>' ... '@'] = V,
	['A' ... 'F'] = X,   ['G' ... 'Z'] = T,  ['['] = VO,         ['\\'] = V,
	[']'] = VO,          ['^' ... '`'] = T,  ['a' ... 'f'] = X,  ['g' ... 'z'] = T,
	['{'] = VO,          ['|'] = T,          ['}'] = VO,         ['~'] = T,
	[0x80 ... 0xff] = V,
};

/* Heads are long, and nearly all of them is text: sixteen bytes at a time where the processor can.
 */
size_t gt_h1_text_len(const char *s, size_t len)
{
	size_t i = 0;

#ifdef __SSE2__
	const __m128i control = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'),
		      del = _mm_set1_epi8(0x7f);

	while (len >= 16) { /* the last sixteen may overlap those before */
		__m128i v = _mm_loadu_si128((const __m128i *)(s + i));
		__m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, control), v);
		__m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low),
					   _mm_cmpeq_epi8(v, del));
		int mask = _mm_movemask_epi8(bad);

		if (mask)
			return i + (size_t)__builtin_ctz((unsigned)mask);
		if (i == len - 16)
			return len;
		i = GT_MIN(i + 16, len - 16);
	}
#endif
	while (i < len && (gt_h1_class[(uint8_t)s[i]] & H1_TEXT))
		i++;
	return i;
}

#ifdef __SSE2__
/* Bytes from..to, below 0x80. */
static __m128i within(__m128i v, char from, char to)
{
	return _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8((char)(from - 1))),
			     _mm_cmplt_epi8(v, _mm_set1_epi8((char)(to + 1))));
}
#endif

size_t gt_h1_token_len(const char *s, size_t len, bool *underscored)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; len - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(s + i));
		__m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
		__m128i good = _mm_or_si128(
			_mm_or_si128(within(lower, 'a', 'z'), within(v, '0', '9')),
			_mm_cmpeq_epi8(v, _mm_set1_epi8('-')));
		unsigned bad = ~(unsigned)_mm_movemask_epi8(good) & 0xffff;

		if (bad) {
			i += (size_t)__builtin_ctz(bad);
			break;
		}
	}
#endif
	for (; i < len && (gt_h1_class[(uint8_t)s[i]] & H1_TCHAR); i++)
		*underscored |= s[i] == '_';
	return i;
}

#define K(text, flags)                        \
	{                                     \
		text, sizeof(text) - 1, flags \
	}
const struct gt_h1_known gt_h1_known[GT_H1_NAME_N] = {
	[GT_H1_OTHER] = { "", 0, 0 },
	[GT_H1_AUTHORIZATION] = K("Authorization", 0),
	[GT_H1_CONNECTION] = K("Connection", H1_HOP),
	[GT_H1_CONTENT_ENCODING] = K("Content-Encoding", 0),
	[GT_H1_CONTENT_LENGTH] = K("Content-Length", H1_HOP),
	[GT_H1_CONTENT_TYPE] = K("Content-Type", 0),
	[GT_H1_EXPECT] = K("Expect", H1_HOP),
	[GT_H1_FORWARDED] = K("Forwarded", H1_FORWARDED),
	[GT_H1_GANTRY_CLIENT_SUBJECT] = K("Gantry-Client-Subject", H1_FORWARDED),
	[GT_H1_GANTRY_DEADLINE] = K("Gantry-Deadline", 0),
	[GT_H1_GANTRY_PEER] = K("Gantry-Peer", H1_FORWARDED),
	[GT_H1_GANTRY_PRIORITY] = K("Gantry-Priority", 0),
	[GT_H1_GANTRY_REPLICA] = K("Gantry-Replica", H1_OURS),
	[GT_H1_GANTRY_REVISION] = K("Gantry-Revision", H1_OURS),
	[GT_H1_GANTRY_ROUTES] = K("Gantry-Routes", H1_OURS),
	[GT_H1_GANTRY_TRACE_ID] = K("Gantry-Trace-Id", H1_OURS),
	[GT_H1_HOST] = K("Host", 0),
	[GT_H1_KEEP_ALIVE] = K("Keep-Alive", H1_HOP),
	[GT_H1_PROXY_AUTHENTICATE] = K("Proxy-Authenticate", H1_HOP),
	[GT_H1_PROXY_AUTHORIZATION] = K("Proxy-Authorization", H1_HOP),
	[GT_H1_PROXY_CONNECTION] = K("Proxy-Connection", H1_HOP),
	[GT_H1_TE] = K("TE", H1_HOP),
	[GT_H1_TRACEPARENT] = K("traceparent", H1_FORWARDED),
	[GT_H1_TRACESTATE] = K("tracestate", 0),
	[GT_H1_TRAILER] = K("Trailer", H1_HOP),
	[GT_H1_TRANSFER_ENCODING] = K("Transfer-Encoding", H1_HOP),
	[GT_H1_UPGRADE] = K("Upgrade", H1_HOP),
	[GT_H1_X_FORWARDED_FOR] = K("X-Forwarded-For", H1_FORWARDED),
	[GT_H1_X_FORWARDED_HOST] = K("X-Forwarded-Host", H1_FORWARDED),
	[GT_H1_X_FORWARDED_PREFIX] = K("X-Forwarded-Prefix", H1_FORWARDED),
	[GT_H1_X_FORWARDED_PROTO] = K("X-Forwarded-Proto", H1_FORWARDED),
	[GT_H1_X_REQUEST_ID] = K("X-Request-Id", H1_FORWARDED | H1_OURS),
};

#define LEN_MAX  21 /* Gantry-Client-Subject */
#define SAME_MAX 5  /* names of one length, and an end */

/* The names of each length. */
static uint8_t by_len[LEN_MAX + 1][SAME_MAX + 1];

__attribute__((constructor)) static void sort_names(void)
{
	for (unsigned i = 1; i < GT_H1_NAME_N; i++) {
		unsigned n = 0;

		while (gt_h1_known[i].len <= LEN_MAX && by_len[gt_h1_known[i].len][n])
			n++;
		if (gt_h1_known[i].len > LEN_MAX || n == SAME_MAX)
			abort(); /* raise it: no test passes before that */
		by_len[gt_h1_known[i].len][n] = (uint8_t)i;
	}
}

enum gt_h1_name gt_h1_name_find(const char *name, size_t len)
{
	if (len > LEN_MAX)
		return GT_H1_OTHER;
	for (const uint8_t *i = by_len[len]; *i; i++) {
		const char *known = gt_h1_known[*i].name;

		/* The first letter tells nearly all of them apart. */
		if (!((known[0] ^ name[0]) & ~0x20) && !strncasecmp(known, name, len))
			return (enum gt_h1_name) * i;
	}
	return GT_H1_OTHER;
}

const char *gt_h1_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 100, "Continue" },
		{ 200, "OK" },
		{ 204, "No Content" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 417, "Expectation Failed" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < GT_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

size_t gt_h1_chunk_head(size_t len, char out[GT_H1_CHUNK_HEAD])
{
	unsigned digits = 1;
	size_t at = 0;

	while (digits < 16 && len >> (4 * digits))
		digits++;
	while (digits > 0)
		out[at++] = "0123456789abcdef"[len >> (4 * --digits) & 15];
	memcpy(out + at, "\r\n", 3);
	return at + 2;
}
