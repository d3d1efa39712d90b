/* table.h - aligned columns for people. Cells are copied; control characters in them are made
 * visible, because names and texts come from others and may end on a terminal. */
#ifndef GANTRY_CLI_TABLE_H
#define GANTRY_CLI_TABLE_H

#include <stdio.h>

#include <gantry/base/cleanup.h>

#define GT_COLUMNS_MAX 16

struct gt_table;

/* headers: n column names; a leading '>' aligns the column right, a leading '?' leaves it out when
 * all its cells are empty. Borrowed for the table's life. */
struct gt_table *gt_table_new(const char *const *headers, size_t n);
void gt_table_free(struct gt_table *t); /* NULL is fine */
GT_CLEANUP_TYPE(table, struct gt_table *, gt_table_free)

void gt_table_cell(struct gt_table *t, const char *text); /* NULL or "" shows as "-" */
void gt_table_cellf(struct gt_table *t, const char *fmt, ...) GT_PRINTF(2, 3);
size_t gt_table_rows(const struct gt_table *t);
/* Ends every line with the last cell: no blanks after it. color: header and states stand out. */
void gt_table_print(const struct gt_table *t, FILE *out, bool color);

/* Writes text with control characters (also C1, and what is no UTF-8) replaced by '?'; tabs stay.
 */
void gt_text_print(FILE *out, const char *text);
void gt_lines_print(FILE *out, const char *text); /* likewise, but each line stays one */
char *gt_text_clean(const char *text);            /* the same as a new string */
size_t gt_text_width(const char *text);           /* columns, one for each character */
/* The SGR code that a state is shown in ("32"), or NULL. */
const char *gt_state_color(const char *state);

#endif
