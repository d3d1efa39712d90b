/* scale_load.c - recorded calls, and how long starts take. */
#include <gantry/sim/scale.h>

#include <gantry/sim/table.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SERVICE_LEAST_NS GT_NS_PER_MS
#define SAMPLES_MAX      10000000
#define FNV_START        0xcbf29ce484222325ULL
#define FNV_PRIME        0x100000001b3ULL

/* ---- calls ---- */
static uint64_t ns_of(double s)
{
	return (uint64_t)llround(s * 1e9);
}

static int row_read(struct gt_csv *t, const size_t column[3], struct gt_sim_call *call,
		    uint64_t *id, struct gt_err *err)
{
	double arrival, service;
	int r = gt_csv_u64(t, column[0], UINT64_MAX, id, err);

	if (r == 0)
		r = gt_csv_double(t, column[1], GT_SIM_SECONDS_MAX, &arrival, err);
	if (r == 0)
		r = gt_csv_double(t, column[2], GT_SIM_SECONDS_MAX, &service, err);
	if (r < 0)
		return r;
	call->arrival_ns = ns_of(arrival);
	call->service_ns = GT_MAX(ns_of(service), SERVICE_LEAST_NS);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* raw[i] is the function's number of call i; it becomes an index into the sorted numbers. */
static int functions_number(const char *path, struct gt_sim_load *l, const uint64_t *raw,
			    struct gt_err *err)
{
	uint64_t *ids = gt_alloc_array(l->n_calls, sizeof(*ids));
	size_t n = 0;

	memcpy(ids, raw, l->n_calls * sizeof(*ids));
	qsort(ids, l->n_calls, sizeof(*ids), by_number);
	for (size_t i = 0; i < l->n_calls; i++)
		if (n == 0 || ids[n - 1] != ids[i])
			ids[n++] = ids[i];
	l->ids = ids;
	l->n_functions = n;
	if (n > GT_SIM_FUNCTIONS_MAX)
		return gt_err_set(err, EINVAL, "bad_table", "%s: %zu functions; at most %d", path,
				  n, GT_SIM_FUNCTIONS_MAX);
	for (size_t i = 0; i < l->n_calls; i++) {
		const uint64_t *at = bsearch(&raw[i], ids, n, sizeof(*ids), by_number);

		l->calls[i].function = (uint32_t)(at - ids);
	}
	return 0;
}

static int calls_read(struct gt_csv *t, struct gt_sim_load *l, uint64_t **raw, struct gt_err *err)
{
	static const char *const names[] = { "function", "arrival_s", "service_s" };
	size_t column[3], cap = 0;
	uint64_t last_ns = 0;
	int r = 0;

	for (size_t i = 0; i < 3 && r == 0; i++)
		r = gt_csv_column(t, names[i], &column[i], err);
	while (r == 0 && (r = gt_csv_next(t, err)) > 0) {
		if (l->n_calls == GT_SIM_CALLS_MAX)
			return gt_csv_bad(t, column[0], err, "more than %d calls",
					  GT_SIM_CALLS_MAX);
		if (l->n_calls == cap) {
			cap = cap ? 2 * cap : 4096;
			l->calls = gt_grow(l->calls, cap, sizeof(*l->calls));
			*raw = gt_grow(*raw, cap, sizeof(**raw));
		}
		r = row_read(t, column, &l->calls[l->n_calls], &(*raw)[l->n_calls], err);
		if (r < 0)
			return r;
		if (l->calls[l->n_calls].arrival_ns < last_ns)
			return gt_csv_bad(t, column[1], err,
					  "earlier than the line before; sort the file by it");
		last_ns = l->calls[l->n_calls++].arrival_ns;
	}
	return r;
}

int gt_sim_load_read(const char *path, struct gt_sim_load *ret, struct gt_err *err)
{
	gt_auto(csv) struct gt_csv *t = NULL;
	gt_auto(sim_load) struct gt_sim_load l = { 0 };
	gt_auto(free) uint64_t *raw = NULL;
	int r = gt_csv_open(path, &t, err);

	if (r == 0)
		r = calls_read(t, &l, &raw, err);
	if (r < 0)
		return r;
	if (l.n_calls == 0)
		return gt_err_set(err, EINVAL, "bad_table", "%s holds no calls", path);
	r = functions_number(path, &l, raw, err);
	if (r < 0)
		return r;
	l.hash = gt_csv_hash(t);
	*ret = l;
	l = (struct gt_sim_load){ 0 };
	return 0;
}

void gt_sim_load_fini(struct gt_sim_load *l)
{
	free(l->calls);
	free(l->ids);
	*l = (struct gt_sim_load){ 0 };
}

/* ---- starts ---- */
static bool number_read(const char *text, double *ret)
{
	char *end;

	if (!strchr("0123456789.", text[0]) || text[0] == '\0')
		return false;
	*ret = strtod(text, &end);
	return *end == '\0' && isfinite(*ret);
}

static int sample_add(const char *path, unsigned line, char *text, struct gt_sim_cold *c,
		      size_t *cap, struct gt_err *err)
{
	double value;

	text[strcspn(text, "\r\n")] = '\0';
	if (text[0] == '\0')
		return 0;
	if (!number_read(text, &value) || value > GT_SIM_SECONDS_MAX || c->n == SAMPLES_MAX) {
		gt_err_set(err, EINVAL, "bad_table", "%s:%u: '%.40s' is not a number of seconds",
			   path, line, text);
		gt_err_printable(err);
		return -EINVAL;
	}
	if (c->n == *cap) {
		*cap = *cap ? 2 * *cap : 1024;
		c->samples = gt_grow(c->samples, *cap, sizeof(double));
	}
	c->samples[c->n++] = value;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int samples_read(const char *path, struct gt_sim_cold *c, struct gt_err *err)
{
	gzFile gz = gzopen(path, "rb");
	size_t cap = 0;
	char line[256];
	int r = 0, code;

	if (!gz)
		return gt_err_errno(err, errno ? errno : ENOMEM,
				    "--cold: \"%.200s\" is no number of seconds, and as a file",
				    path);
	c->hash = FNV_START;
	for (unsigned n = 1; r == 0 && gzgets(gz, line, sizeof(line)); n++) {
		for (const char *at = line; *at; at++)
			c->hash = (c->hash ^ (unsigned char)*at) * FNV_PRIME;
		r = sample_add(path, n, line, c, &cap, err);
	}
	if (r == 0 && (gzerror(gz, &code), code != Z_OK && code != Z_STREAM_END))
		r = gt_err_set(err, EINVAL, "bad_table", "%s: %s", path, gzerror(gz, &code));
	gzclose_r(gz);
	if (r == 0 && c->n == 0)
		r = gt_err_set(err, EINVAL, "bad_table", "%s holds no samples", path);
	return r;
}

int gt_sim_cold_read(const char *text, struct gt_sim_cold *ret, struct gt_err *err)
{
	gt_auto(sim_cold) struct gt_sim_cold c = { .factor = 1 };
	double seconds;

	if (number_read(text, &seconds)) {
		if (seconds > GT_SIM_SECONDS_MAX)
			return gt_err_set(err, EINVAL, "usage", "%s seconds are above %g", text,
					  GT_SIM_SECONDS_MAX);
		c.samples = gt_alloc(sizeof(double));
		c.samples[c.n++] = seconds;
	} else {
		int r = samples_read(text, &c, err);

		if (r < 0)
			return r;
		qsort(c.samples, c.n, sizeof(double), by_value);
	}
	*ret = c;
	c = (struct gt_sim_cold){ 0 };
	return 0;
}

void gt_sim_cold_fini(struct gt_sim_cold *c)
{
	free(c->samples);
	*c = (struct gt_sim_cold){ 0 };
}

/* splitmix64 of x (Steele, Lea, Flood 2014), as a number in [0, 1). */
static double hash_unit(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return (double)(x >> 11) / 9007199254740992.0;
}

double gt_sim_cold_base_s(const struct gt_sim_cold *c, uint64_t function)
{
	return c->samples[(size_t)(hash_unit(function + 1) * (double)c->n)] * c->factor;
}

uint64_t gt_sim_cold_ns(const struct gt_sim_cold *c, uint64_t function, uint64_t i)
{
	return ns_of(gt_sim_cold_base_s(c, function) *
		     (0.9 + 0.2 * hash_unit((function << 32) + i)));
}
