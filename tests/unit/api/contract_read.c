#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <gantry/api/api.h>

#include "contract_read.h"

static void take(char *out, size_t size, const char *s, const char *end)
{
	snprintf(out, size, "%.*s", (int)(end - s), s);
}

static void read_line(const char *line, const char *end, char path[96], struct operation *all,
		      size_t *n)
{
	struct operation *op = *n ? &all[*n - 1] : NULL;
	size_t indent = strspn(line, " ");
	const char *s = line + indent;

	if (indent == 2 && *s == '/') {
		take(path, 96, s, end - 1);
	} else if (indent == 4 && islower((unsigned char)*s) && end[-1] == ':' &&
		   strncmp(s, "parameters", 10) != 0) {
		op = &all[(*n)++];
		memset(op, 0, sizeof(*op));
		strcpy(op->path, path);
		take(op->method, sizeof(op->method), s, end - 1);
		for (char *m = op->method; *m; m++)
			*m = (char)toupper((unsigned char)*m);
	} else if (op && indent == 6 && strncmp(s, "operationId: ", 13) == 0) {
		take(op->id, sizeof(op->id), s + 13, end);
	} else if (op && indent == 6 && strncmp(s, "security: []", 12) == 0) {
		op->open = true;
	} else if (op && indent == 8 && strncmp(s, "default:", 8) == 0) {
		op->any = true;
	} else if (op && indent == 8 && *s == '\'' && isdigit((unsigned char)s[1])) {
		sscanf(s + 1, "%d", &op->statuses[op->n_statuses++]);
	}
}

size_t contract_read(struct operation out[OPERATIONS_MAX])
{
	size_t len, n = 0;
	const char *s = gt_api_contract(&len);
	const char *stop = strstr(s, "\ncomponents:");
	char path[96] = "";

	for (s = strstr(s, "\npaths:") + 1; s < stop; s = strchr(s, '\n') + 1)
		read_line(s, strchr(s, '\n'), path, out, &n);
	return n;
}

const struct operation *contract_find(const struct operation *all, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].id, id) == 0)
			return &all[i];
	return NULL;
}

bool contract_allows(const struct operation *op, int status)
{
	for (size_t i = 0; i < op->n_statuses; i++)
		if (op->statuses[i] == status)
			return true;
	return op->any;
}
