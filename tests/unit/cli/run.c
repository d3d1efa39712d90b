#include "run.h"

#include <string.h>

#include <gantry/base/buf.h>

#include "cli.h"

#define WORDS_MAX 64

static char *next_word(char **at)
{
	char *word;

	*at += strspn(*at, " ");
	if (!**at)
		return NULL;
	if (**at == '\'') {
		*at += 1;
		return strsep(at, "'");
	}
	word = strsep(at, " ");
	if (!*at)
		*at = word + strlen(word);
	return word;
}

struct run run_cli(const char *line)
{
	gt_auto(free) char *copy = gt_strdup(line);
	char *at = copy, *words[WORDS_MAX + 1];
	struct run r = { 0 };
	size_t n_out, n_err;
	FILE *out = open_memstream(&r.out, &n_out), *err = open_memstream(&r.err, &n_err);
	int n = 0;

	while (n < WORDS_MAX && (words[n] = next_word(&at)))
		n++;
	r.code = gt_cli_main(n, words, out, err);
	fclose(out);
	fclose(err);
	return r;
}

void run_fini(struct run *r)
{
	free(r->out);
	free(r->err);
}

char *read_text(const char *path)
{
	gt_auto(file) FILE *f = fopen(path, "re");
	gt_auto(buf) struct gt_buf text = { 0 };
	char part[4096];
	size_t n;

	while (f && (n = fread(part, 1, sizeof(part), f)) > 0)
		gt_buf_add(&text, part, n);
	return f ? gt_buf_steal(&text) : NULL;
}
