/* A warm call asks for no memory: what the calls before it needed is used again. Here malloc and
 * its like are counted on their way to the C library; with a sanitizer, which has its own, by its
 * hook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "script.h"

#define AUTH "Authorization: Bearer " SCRIPT_TOKEN "\r\n"

static unsigned asked;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					      void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t size)
{
	(void)p;
	(void)size;
	asked++;
}

static void on_free(const volatile void *p)
{
	(void)p;
}

static void count_memory(void)
{
	assert_int_not_equal(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free), 0);
}
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
	asked++;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	asked++;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	asked++;
	return __libc_realloc(p, size);
}

static void count_memory(void)
{
}
#endif

/* The peers' own buffers have grown as far as they will. */
static void forget(struct script *s)
{
	for (size_t i = 0; i < s->n_ends; i++) {
		gt_buf_reset(&s->ends[i].sent);
		gt_buf_reset(&s->ends[i].got);
	}
}

struct exchange {
	const char *request, *answer; /* NULL: the gateway answers */
};

/* How often memory is asked for by the second of two equal exchanges, after a few others. */
static unsigned asked_by(const struct exchange *e, size_t n)
{
	struct script *s = script_open(1);
	struct script_end *c = script_client(s, "10.0.0.9");
	unsigned count = 0;

	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < n; i++) {
			forget(s);
			count = asked;
			script_puts(c, e[i].request);
			if (e[i].answer)
				script_puts(script_up(s, SCRIPT_UP, 0), e[i].answer);
			count = asked - count;
			assert_true(script_has(c, "HTTP/1.1 200 OK\r\n"));
			assert_true(c->open);
		}
	}
	script_close(s);
	return count;
}

static void fill(char *text, size_t size)
{
	size_t len = strlen(text);

	memset(text + len, 'x', size - len - 1);
	text[size - 1] = '\0';
}

static void test_the_count_sees_an_allocation(void **state)
{
	unsigned before = asked;
	struct gt_buf b = { 0 };

	(void)state;
	gt_buf_adds(&b, "x");
	assert_int_equal(asked - before, 1);
	gt_buf_fini(&b);
}

static void test_warm_calls_ask_for_no_memory(void **state)
{
	static char answer[1024 + 128] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
					 "Content-Length: 1024\r\n\r\n";
	static char post[1024 + 128] = "POST /f/echo/x HTTP/1.1\r\nHost: h\r\n" AUTH
				       "Content-Length: 1024\r\n\r\n";
	static const char get[] =
		"GET /f/echo/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: application/json\r\n"
		"Accept-Encoding: gzip, deflate\r\nUser-Agent: OpenAI/Python 1.40.0\r\n"
		"X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.40.0\r\n"
		"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Async: false\r\n"
		"X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.2\r\n" AUTH
		"\r\n";

	(void)state;
	fill(answer, strlen(answer) + 1024 + 1);
	fill(post, strlen(post) + 1024 + 1);
	const struct exchange gets[] = { { get, answer } }, posts[] = { { post, answer } },
			      both[] = { { post, answer }, { get, answer } };

	assert_int_equal(asked_by(gets, 1), 0);
	assert_int_equal(asked_by(posts, 1), 0);
	assert_int_equal(asked_by(both, 2), 0);
}

/* What one client does not give back, others lack: it goes to a store, and the next bytes take it.
 */
static void test_streams_hold_no_memory_and_ask_for_none(void **state)
{
	struct script *s = script_open(1);
	struct script_end *c = script_client(s, "10.0.0.9");
	unsigned count = 0;

	(void)state;
	script_puts(c, "GET /f/echo/x HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n");
	script_puts(script_up(s, SCRIPT_UP, 0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
						"\r\n2\r\nhi\r\n");
	assert_true(script_has(c, "2\r\nhi\r\n"));
	for (int i = 0; i < 2; i++) {
		forget(s);
		count = asked;
		script_puts(script_up(s, SCRIPT_UP, 0), "2\r\nhi\r\n");
		assert_true(script_has(c, "2\r\nhi\r\n"));
		assert_int_equal(s->gw->buffered, sizeof("GET /f/echo/x"));
	}
	assert_int_equal(asked - count, 0);
	script_puts(script_up(s, SCRIPT_UP, 0), "2\r\nho\r\n0\r\n\r\n");
	assert_true(script_has(c, "2\r\nho\r\n0\r\n\r\n"));
	assert_int_equal(s->gw->buffered, 0);
	script_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_count_sees_an_allocation),
		cmocka_unit_test(test_warm_calls_ask_for_no_memory),
		cmocka_unit_test(test_streams_hold_no_memory_and_ask_for_none),
	};

	count_memory();
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
