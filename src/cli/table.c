#include "table.h"

#include <stdarg.h>
#include <string.h>

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
	take(t, gt_text_clean(text && *text ? text : "-"));
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

void gt_table_print(const struct gt_table *t, FILE *out, bool color)
{
	size_t width[GT_COLUMNS_MAX] = { 0 };
	bool right[GT_COLUMNS_MAX] = { false };
	const char *header[GT_COLUMNS_MAX];

	for (size_t c = 0; c < t->n_columns; c++) {
		right[c] = t->headers[c][0] == '>';
		header[c] = t->headers[c] + right[c];
		width[c] = gt_text_width(header[c]);
	}
	for (size_t i = 0; i < t->n; i++)
		width[i % t->n_columns] = GT_MAX(width[i % t->n_columns],
						 gt_text_width(t->cells[i]));
	for (size_t c = 0; c < t->n_columns; c++)
		print_cell(header[c], width[c], right[c], c + 1 == t->n_columns, color ? "1" : NULL,
			   out);
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->n_columns;
		print_cell(t->cells[i], width[c], right[c], c + 1 == t->n_columns,
			   color ? gt_state_color(t->cells[i]) : NULL, out);
	}
}
