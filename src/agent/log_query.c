/* log_query.c - history out of log files, of one replica or of all of a function's. */
#include "log_query.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX     64            /* newest replicas of a function */
#define READ_MAX_ONE  (16 * GT_MIB) /* of a file, when one replica is asked for */
#define READ_MAX_EACH (1 * GT_MIB)  /* ... when all are */
#define PATH_SIZE     (GT_NAME_MAX + GT_REPLICA_ID_SIZE + 16)

struct history {
	char *texts[2 * FILES_MAX]; /* the lines point into them */
	size_t n_texts;
	char names[FILES_MAX][GT_REPLICA_ID_SIZE];
	size_t n_names;
	struct log_line *lines;
	size_t n, room;
};

bool gt_log_query_wants(const struct log_query *q, const struct log_line *line)
{
	return gt_streq(q->function, line->function) &&
	       (!q->replica[0] || gt_streq(q->replica, line->replica)) &&
	       (q->revision < 0 || q->revision == line->revision) &&
	       (q->stream < 0 || q->stream == (int)line->stream) && line->seq > q->after &&
	       line->wall_ms >= q->since_ms &&
	       (!q->until_ms || line->wall_ms - line->late_ms <= q->until_ms) &&
	       (!q->contains[0] || memmem(line->text, line->len, q->contains, strlen(q->contains)));
}

static void keep(struct history *h, const struct log_line *line)
{
	if (h->n == h->room) {
		h->room = h->room ? 2 * h->room : 256;
		h->lines = gt_grow(h->lines, h->room, sizeof(*h->lines));
	}
	h->lines[h->n++] = *line;
}

static void scan(struct history *h, const struct log_query *q, const char *replica, char *text)
{
	struct log_line line = { .function = q->function, .replica = replica };

	/* The first line may be cut in the middle: it does not parse, or it is whole. */
	for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
		if (gt_log_line_parse(at, (size_t)(end - at), &line) &&
		    gt_log_query_wants(q, &line))
			keep(h, &line);
	}
}

static void read_file(struct history *h, struct logs *l, const struct log_query *q,
		      const char *replica, const char *suffix)
{
	size_t max = q->replica[0] ? READ_MAX_ONE : READ_MAX_EACH;
	char path[PATH_SIZE], *text;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s.log%s", q->function, replica, suffix);
	gt_auto(fd) int fd = openat(gt_logs_dir(l), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		return;
	max = GT_MIN(max, (size_t)st.st_size);
	text = gt_alloc(max + 1);
	n = pread(fd, text, max, st.st_size - (off_t)max);
	h->texts[h->n_texts++] = text;
	/* A NUL that a program printed must not hide what follows. */
	for (ssize_t i = 0; i < n; i++) {
		if (text[i] == '\0')
			text[i] = ' ';
	}
	if (n > 0)
		scan(h, q, replica, text);
}

static int is_log(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > GT_ULID_LEN && strncmp(e->d_name + GT_ULID_LEN, ".log", 4) == 0;
}

static void list_replicas(struct history *h, struct logs *l, const struct log_query *q)
{
	struct dirent **found = NULL;
	int n;

	if (q->replica[0]) {
		gt_strcopy(h->names[h->n_names++], GT_REPLICA_ID_SIZE, q->replica);
		return;
	}
	n = scandirat(gt_logs_dir(l), q->function, &found, is_log, alphasort);
	for (int i = n - 1; i >= 0; i--) {
		char name[GT_REPLICA_ID_SIZE];

		snprintf(name, sizeof(name), "%.*s", GT_ULID_LEN, found[i]->d_name);
		if (h->n_names < FILES_MAX &&
		    (h->n_names == 0 || !gt_streq(h->names[h->n_names - 1], name)))
			gt_strcopy(h->names[h->n_names++], GT_REPLICA_ID_SIZE, name);
		free(found[i]);
	}
	free(found);
}

static int by_time(const void *a, const void *b)
{
	const struct log_line *x = a, *y = b;
	int names;

	if (x->wall_ms != y->wall_ms)
		return x->wall_ms < y->wall_ms ? -1 : 1;
	names = strcmp(x->replica, y->replica);
	if (names != 0)
		return names;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void gt_log_query_run(struct logs *l, const struct log_query *q,
		      void (*fn)(const struct log_line *line, void *arg), void *arg)
{
	struct history *h = gt_alloc(sizeof(*h));

	list_replicas(h, l, q);
	for (size_t i = 0; i < h->n_names; i++) {
		read_file(h, l, q, h->names[i], ".1");
		read_file(h, l, q, h->names[i], "");
	}
	if (h->n > 0)
		qsort(h->lines, h->n, sizeof(*h->lines), by_time);
	for (size_t i = h->n > q->tail ? h->n - q->tail : 0; i < h->n; i++)
		fn(&h->lines[i], arg);
	for (size_t i = 0; i < h->n_texts; i++)
		free(h->texts[i]);
	free(h->lines);
	free(h);
}
