#include "table.h"

#include <stdarg.h>
#include <string.h>

#define EMPTY "-"

struct gt_table {
	const char *const *headers;
	size_t n_columns;
	char **cells;
	size_t n, cap;
};

struct gt_table *gt_table_new(const char *const *headers, size_t n)
{
	struct gt_table *t = gt_alloc(sizeof(*t));

	t->headers = headers;
	t->n_columns = GT_MIN(n, GT_COLUMNS_MAX);
	return t;
}

void gt_table_free(struct gt_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

static void take(struct gt_table *t, char *cell GT_TAKES)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->cells = gt_grow(t->cells, t->cap, sizeof(*t->cells));
	}
	t->cells[t->n++] = cell;
}

void gt_table_cell(struct gt_table *t, const char *text)
{
	take(t, gt_text_clean(text && *text ? text : EMPTY));
}

void gt_table_cellf(struct gt_table *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gt_table_cell(t, text);
}

size_t gt_table_rows(const struct gt_table *t)
{
	return t->n / t->n_columns;
}

static const char *header_text(const char *header)
{
	return header + (*header == '>' || *header == '?');
}

static void print_cell(const char *text, size_t width, bool right, bool last, const char *sgr,
		       FILE *out)
{
	size_t own = gt_text_width(text);
	int pad = (int)(width - GT_MIN(width, own));

	if (right)
		fprintf(out, "%*s", pad, "");
	if (sgr)
		fprintf(out, "\033[%sm%s\033[0m", sgr, text);
	else
		fputs(text, out);
	if (!right && !last)
		fprintf(out, "%*s", pad, "");
	fputs(last ? "\n" : "  ", out);
}

/* Those that have something to say; returns how many, their places in `ret`. */
static size_t columns_shown(const struct gt_table *t, size_t ret[GT_COLUMNS_MAX])
{
	size_t n = 0;

	for (size_t c = 0; c < t->n_columns; c++) {
		bool shown = t->headers[c][0] != '?';

		for (size_t i = c; !shown && i < t->n; i += t->n_columns)
			shown = strcmp(t->cells[i], EMPTY) != 0;
		if (shown)
			ret[n++] = c;
	}
	return n;
}

void gt_table_print(const struct gt_table *t, FILE *out, bool color)
{
	size_t width[GT_COLUMNS_MAX] = { 0 }, shown[GT_COLUMNS_MAX];
	size_t n = columns_shown(t, shown);

	for (size_t k = 0; k < n; k++) {
		width[k] = gt_text_width(header_text(t->headers[shown[k]]));
		for (size_t i = shown[k]; i < t->n; i += t->n_columns)
			width[k] = GT_MAX(width[k], gt_text_width(t->cells[i]));
	}
	for (size_t k = 0; k < n; k++) {
		const char *header = t->headers[shown[k]];

		print_cell(header_text(header), width[k], *header == '>', k + 1 == n,
			   color ? "1" : NULL, out);
	}
	for (size_t row = 0; row + t->n_columns <= t->n; row += t->n_columns) {
		for (size_t k = 0; k < n; k++) {
			const char *cell = t->cells[row + shown[k]];

			print_cell(cell, width[k], t->headers[shown[k]][0] == '>', k + 1 == n,
				   color ? gt_state_color(cell) : NULL, out);
		}
	}
}
