/* The store alone: durable calls taken in, and leased and finished, by operations of the sizes that
 * control makes. Prints JSON.
 *
 *	store DIRECTORY [CALLS [postgresql://...]] */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <gantry/store/store.h>

#define GROUP 256
#define OPEN  16 /* operations under way */

static int event;
static unsigned under_way;
static struct gt_task_op *leased[GT_TASK_EXCHANGES_MAX]; /* not finished yet */

static void ring(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	if (write(event, &one, sizeof(one)) < 0)
		abort();
}

static void on_done(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	(void)arg;
	if (err) {
		fprintf(stderr, "%s\n", err->text);
		exit(1);
	}
	under_way--;
	for (size_t i = 0; op->n_tasks && op->verb == GT_TASK_EXCHANGE && i < GT_LEN(leased); i++)
		if (!leased[i]) {
			leased[i] = op;
			return;
		}
	gt_task_op_free(op);
}

static void wait_until(struct gt_store *s, unsigned most)
{
	while (under_way > most) {
		struct pollfd p = { .fd = event, .events = POLLIN };
		uint64_t n;

		if (poll(&p, 1, -1) == 1 && read(event, &n, sizeof(n)) < 0)
			exit(1);
		gt_store_poll(s);
	}
}

static void give(struct gt_store *s, struct gt_task_op *op)
{
	op->done = on_done;
	op->now_ms = 1;
	under_way++;
	gt_store_task(s, op);
}

static double now_s(void)
{
	return (double)gt_mono_ns(&gt_clock_system) / 1e9;
}

static double enqueue(struct gt_store *s, unsigned calls)
{
	double begun = now_s();

	for (unsigned i = 0; i < calls;) {
		struct gt_task_op *op = gt_task_op_new(GT_TASK_ACCEPT);

		for (unsigned k = 0; k < GROUP && i < calls; k++, i++) {
			struct gt_task *t = gt_task_op_add(op);

			gt_ulid(&gt_clock_system, &gt_rand_system, t->id);
			strcpy(t->function, "f");
			strcpy(t->method, "POST");
			t->path = gt_strdup("/");
			t->priority = GT_TASK_NORMAL;
			t->deadline_ms = 1000000;
			t->body.data = gt_alloc(512);
			t->body.len = 512;
		}
		give(s, op);
		wait_until(s, OPEN);
	}
	wait_until(s, 0);
	return calls / (now_s() - begun);
}

static struct gt_task_op *exchange(void)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_EXCHANGE);

	op->sessions = gt_alloc(sizeof(*op->sessions));
	op->n_sessions = 1;
	strcpy(op->sessions[0].gateway, "g");
	op->sessions[0].session = 1;
	op->wants = gt_alloc(sizeof(*op->wants));
	op->n_wants = 1;
	strcpy(op->wants[0].function, "f");
	op->wants[0].n = GT_TASK_LEASES_MAX;
	return op;
}

static unsigned finish(struct gt_task_op *op, const struct gt_task_op *of)
{
	for (size_t i = 0; i < of->n_tasks; i++) {
		struct gt_task_result *r = gt_task_op_result(op);

		r->seq = of->tasks[i].seq;
		r->attempt = of->tasks[i].attempt;
		r->status = 200;
		r->next = GT_TASK_SUCCEEDED;
		r->counts = true;
		r->body.data = gt_alloc(512);
		r->body.len = 512;
	}
	return (unsigned)of->n_tasks;
}

/* Each operation finishes what one before it leased, and so many are under way, as a gateway does.
 */
static double lease_and_finish(struct gt_store *s, unsigned calls)
{
	double begun = now_s();
	unsigned done = 0;

	for (size_t i = 0; i < GT_LEN(leased); i++)
		give(s, exchange());
	while (done < calls) {
		wait_until(s, GT_LEN(leased) - 1);
		for (size_t i = 0; i < GT_LEN(leased); i++) {
			struct gt_task_op *op;

			if (!leased[i])
				continue;
			op = exchange();
			done += finish(op, leased[i]);
			gt_task_op_free(leased[i]);
			leased[i] = NULL;
			give(s, op);
		}
	}
	wait_until(s, 0);
	return calls / (now_s() - begun);
}

int main(int argc, char **argv)
{
	unsigned calls = argc > 2 ? (unsigned)atoi(argv[2]) : 100000;
	struct gt_store_config config = { .path = "raw.db", .notify = ring };
	struct gt_store *s = NULL;
	struct gt_err err = { 0 };
	double enqueued, finished;

	if (argc > 3)
		config.path = argv[3];
	event = eventfd(0, EFD_CLOEXEC);
	if (argc < 2 || chdir(argv[1]) < 0 || gt_store_open(&config, &s, &err) < 0) {
		fprintf(stderr, "store: %s\n", err.text);
		return 1;
	}
	enqueued = enqueue(s, calls);
	finished = lease_and_finish(s, calls);
	printf("{\"calls\": %u, \"enqueue_per_s\": %.0f, \"lease_finish_per_s\": %.0f}\n", calls,
	       enqueued, finished);
	gt_store_close(s);
	return 0;
}
