/* table.c - CSV, plain or gzip. zlib reads both; what it says of broken ones is passed on. */
#include <gantry/sim/table.h>

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <gantry/base/units.h>

#define FNV_START 0xcbf29ce484222325ULL /* FNV-1a, RFC 9923 (64 bits) */
#define FNV_PRIME 0x100000001b3ULL
#define SHOWN     40 /* characters of a bad field in an error */

struct gt_csv {
	char *path;
	gzFile gz;
	uint64_t line, rows, bytes, hash;
	size_t n_columns;
	char *names[GT_TABLE_COLUMNS_MAX];
	char *fields[GT_TABLE_COLUMNS_MAX]; /* in buf, of the row */
	size_t at, end;                     /* of what is read and not yet used */
	char buf[4 * GT_TABLE_LINE_MAX];
};

struct gt_csv *gt_csv_free(struct gt_csv *t)
{
	if (!t)
		return NULL;
	if (t->gz)
		gzclose_r(t->gz);
	for (size_t i = 0; i < t->n_columns; i++)
		free(t->names[i]);
	free(t->path);
	free(t);
	return NULL;
}

static int bad_line(const struct gt_csv *t, struct gt_err *err, const char *text)
{
	return gt_err_set(err, EINVAL, "bad_table", "%s:%llu: %s", t->path,
			  (unsigned long long)t->line, text);
}

int gt_csv_bad(const struct gt_csv *t, size_t column, struct gt_err *err, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gt_err_set(err, EINVAL, "bad_table", "%s:%llu: %s: %s", t->path,
		   (unsigned long long)t->line, t->names[column], text);
	gt_err_printable(err);
	return -EINVAL;
}

/* ---- lines ---- */
/* Why no more bytes came: nothing, at the file's end. */
static int read_end(struct gt_csv *t, struct gt_err *err)
{
	int code;
	const char *text = gzerror(t->gz, &code);

	if (code == Z_OK || code == Z_STREAM_END)
		return 0;
	if (code == Z_ERRNO)
		return gt_err_errno(err, errno, "%s", t->path);
	return gt_err_set(err, EINVAL, "bad_table", "%s:%llu: the gzip data is broken: %s", t->path,
			  (unsigned long long)t->line + 1,
			  code == Z_BUF_ERROR ? "it ends early" : text);
}

static void hash_add(struct gt_csv *t, const char *text, size_t len)
{
	uint64_t hash = t->hash;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * FNV_PRIME;
	t->hash = hash;
	t->bytes += len;
}

/* Moves what is left to the front and reads behind it. 0 at the file's end. */
static int fill(struct gt_csv *t, struct gt_err *err)
{
	memmove(t->buf, t->buf + t->at, t->end - t->at);
	t->end -= t->at;
	t->at = 0;
	int n = gzread(t->gz, t->buf + t->end, (unsigned)(sizeof(t->buf) - 1 - t->end));

	if (n <= 0)
		return read_end(t, err);
	hash_add(t, t->buf + t->end, (size_t)n);
	t->end += (size_t)n;
	if (t->bytes > GT_TABLE_BYTES_MAX)
		return bad_line(t, err, "the file is longer than 4 GiB");
	return 1;
}

/* 1: *ret is a line without its end, with a NUL behind it; 0: there is none. */
static int read_line(struct gt_csv *t, char **ret, struct gt_err *err)
{
	char *line = t->buf + t->at, *nl;
	int more = 1;

	while (!(nl = memchr(line, '\n', t->end - t->at)) && more) {
		if (t->end - t->at > GT_TABLE_LINE_MAX)
			break;
		more = fill(t, err);
		if (more < 0)
			return more;
		line = t->buf;
	}
	if (!nl && t->end == t->at)
		return 0;
	size_t len = nl ? (size_t)(nl - line) : t->end - t->at;

	t->line++;
	if (len > GT_TABLE_LINE_MAX)
		return bad_line(t, err, "the line is longer than 65536 bytes");
	if (memchr(line, '\0', len))
		return bad_line(t, err, "a NUL byte; this is no CSV");
	t->at += len + (nl != NULL);
	line[len] = '\0';
	if (len > 0 && line[len - 1] == '\r')
		line[len - 1] = '\0';
	*ret = line;
	return 1;
}

/* ---- fields ---- */
/* Takes the quotes off in place. Returns what follows the field, NULL when it is broken. */
static char *unquote(char *at)
{
	char *out = at++;

	for (; *at; at++) {
		if (*at == '"' && *++at != '"') {
			if (*at != ',' && *at != '\0')
				return NULL;
			char *rest = at;

			*out = '\0';
			return rest;
		}
		*out++ = *at;
	}
	return NULL;
}

/* The number of fields, or -EINVAL. */
static int split(struct gt_csv *t, char *at, struct gt_err *err)
{
	for (size_t n = 0; n < GT_TABLE_COLUMNS_MAX; n++) {
		char *end;
		bool last;

		t->fields[n] = at;
		if (*at != '"') {
			end = at + strcspn(at, ",");
			last = *end == '\0';
			*end = '\0';
		} else {
			/* Looked at before the quotes go: the end of the field may lie before. */
			end = unquote(at);
			if (!end)
				return bad_line(t, err,
						"a quoted field does not end with its quote");
			last = *end != ',';
		}
		if (last)
			return (int)n + 1;
		at = end + 1;
	}
	return bad_line(t, err, "more than 256 fields");
}

static int read_heading(struct gt_csv *t, struct gt_err *err)
{
	char *line;
	int r = read_line(t, &line, err);

	if (r < 0)
		return r;
	if (r == 0)
		return gt_err_set(err, EINVAL, "bad_table",
				  "%s is empty; the first line must name the columns", t->path);
	if (gt_starts_with(line, "\xef\xbb\xbf")) /* a byte order mark */
		line += 3;
	r = split(t, line, err);
	if (r < 0)
		return r;
	for (int i = 0; i < r; i++) {
		for (int k = 0; k < i; k++)
			if (strcmp(t->names[k], t->fields[i]) == 0)
				return gt_csv_bad(t, (size_t)k, err, "the heading has it twice");
		t->names[t->n_columns++] = gt_strdup(t->fields[i]);
	}
	return 0;
}

int gt_csv_open(const char *path, struct gt_csv **ret, struct gt_err *err)
{
	gt_auto(csv) struct gt_csv *t = gt_alloc(sizeof(*t));
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	t->path = gt_strdup(path);
	t->hash = FNV_START;
	if (fd < 0)
		return gt_err_errno(err, errno, "%s", path);
	t->gz = gzdopen(fd, "rb");
	if (!t->gz)
		return gt_err_errno(err, ENOMEM, "%s", path);
	gt_steal_fd(&fd);
	int r = read_heading(t, err);

	if (r < 0)
		return r;
	*ret = gt_steal(&t);
	return 0;
}

bool gt_csv_has(const struct gt_csv *t, const char *name)
{
	size_t ignored;

	return gt_csv_column(t, name, &ignored, NULL) == 0;
}

int gt_csv_column(const struct gt_csv *t, const char *name, size_t *ret, struct gt_err *err)
{
	char list[300] = "";

	for (size_t i = 0; i < t->n_columns; i++) {
		if (strcmp(t->names[i], name) == 0) {
			*ret = i;
			return 0;
		}
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", t->names[i]);
	}
	gt_err_set(err, EINVAL, "bad_table", "%s:1: there is no column %s; there are: %s", t->path,
		   name, list);
	gt_err_printable(err);
	return -EINVAL;
}

int gt_csv_next(struct gt_csv *t, struct gt_err *err)
{
	char *line;
	int r;

	do
		r = read_line(t, &line, err);
	while (r > 0 && *line == '\0');
	if (r <= 0)
		return r;
	r = split(t, line, err);
	if (r < 0)
		return r;
	if ((size_t)r != t->n_columns)
		return gt_err_set(err, EINVAL, "bad_table",
				  "%s:%llu: %d fields; the heading has %zu", t->path,
				  (unsigned long long)t->line, r, t->n_columns);
	t->rows++;
	return 1;
}

const char *gt_csv_text(const struct gt_csv *t, size_t column)
{
	return t->fields[column];
}

int gt_csv_u64(const struct gt_csv *t, size_t column, uint64_t max, uint64_t *ret,
	       struct gt_err *err)
{
	const char *text = t->fields[column];
	int r = gt_parse_u64(text, max, ret);

	if (r == -ERANGE)
		return gt_csv_bad(t, column, err, "%.*s is above %llu", SHOWN, text,
				  (unsigned long long)max);
	if (r < 0)
		return gt_csv_bad(t, column, err, "'%.*s' is not a number", SHOWN, text);
	return 0;
}

int gt_csv_double(const struct gt_csv *t, size_t column, double max, double *ret,
		  struct gt_err *err)
{
	const char *text = t->fields[column];
	char *end = NULL;
	/* No sign, blank, hexadecimal, inf or nan, all of which strtod takes. */
	bool plain = text[0] && strspn(text, "0123456789.eE+-") == strlen(text) &&
		     strchr("0123456789.", text[0]);
	double value = plain ? strtod(text, &end) : 0;

	if (!plain || *end)
		return gt_csv_bad(t, column, err, "'%.*s' is not a number", SHOWN, text);
	if (!isfinite(value) || value > max)
		return gt_csv_bad(t, column, err, "%.*s is above %g", SHOWN, text, max);
	*ret = value;
	return 0;
}

uint64_t gt_csv_line(const struct gt_csv *t)
{
	return t->line;
}

uint64_t gt_csv_rows(const struct gt_csv *t)
{
	return t->rows;
}

uint64_t gt_csv_hash(const struct gt_csv *t)
{
	return t->hash;
}
