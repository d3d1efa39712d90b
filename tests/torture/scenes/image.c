/* image.c - layers written, mounted and unpacked; what a registry has, fetched. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/image/layer.h>
#include <gantry/image/registry.h>

#include "../../unit/image/layer_tar.h"
#include "../../unit/image/reg_world.h"
#include "../torture.h"

static struct gt_buf tar, packed;

static void archive(struct world *w)
{
	static char data[200000];

	(void)w;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 251);
	data[sizeof(data) - 1] = '\0';
	tar_add(&tar, &(struct tar_entry){ .path = "etc/", .type = '5', .mode = 0755 });
	tar_add(&tar, &(struct tar_entry){ .path = "etc/x", .data = "ok\n" });
	tar_add(&tar, &(struct tar_entry){ .path = "etc/y", .link = "x", .type = '2' });
	tar_add(&tar, &(struct tar_entry){ .path = "etc/.wh.z" });
	tar_block(&tar, &(struct tar_entry){ .path = "large" }, '0', "large", data, sizeof(data));
	tar_end(&tar);
	MUST(!tar.failed);
}

static void gzipped(struct world *w)
{
	archive(w);
	gzip_of(&tar, &packed);
}

static void zstd_packed(struct world *w)
{
	archive(w);
	zstd_of(&tar, &packed);
}

static void forget(struct world *w)
{
	(void)w;
	gt_buf_fini(&tar);
	gt_buf_fini(&packed);
}

static int write_to(struct world *w, enum gt_layer_form form, const struct gt_buf *data,
		    const int fds[2], struct gt_err *err)
{
	struct gt_layer_writer *writer = NULL;
	struct gt_layer_result res = { 0 };
	int r = gt_layer_new(form, fds[0], fds[1], NULL, &writer, err);

	if (r == 0)
		r = gt_layer_feed(writer, data->data, data->len, err);
	if (r == 0)
		r = gt_layer_finish(writer, &res, err);
	gt_layer_free(writer);
	if (r == 0 && res.tar_bytes != tar.len)
		wrong(w, "%llu bytes of %zu", (unsigned long long)res.tar_bytes, tar.len);
	return r;
}

static int written(struct world *w, enum gt_layer_form form, const struct gt_buf *data,
		   struct gt_err *err)
{
	gt_auto(fd) int a = open("layer.tar", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	gt_auto(fd) int b = open("layer.erofs", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int fds[] = { a, b };

	if (a < 0 || b < 0)
		return gt_err_errno(err, errno, "layer");
	int r = write_to(w, form, data, fds, err);

	if (r < 0)
		return r;
	/* What it says is there is there. */
	gt_auto(buf) struct gt_buf got = { 0 };
	char piece[4096];
	ssize_t n;

	lseek(a, 0, SEEK_SET);
	while ((n = read(a, piece, sizeof(piece))) > 0)
		gt_buf_add(&got, piece, (size_t)n);
	if (n == 0 && (got.len != tar.len || memcmp(got.data, tar.data, tar.len) != 0))
		wrong(w, "another archive");
	return 0;
}

static int plain(struct world *w, struct gt_err *err)
{
	return written(w, GT_LAYER_TAR, &tar, err);
}

static int gzip(struct world *w, struct gt_err *err)
{
	return written(w, GT_LAYER_GZIP, &packed, err);
}

static int zstd(struct world *w, struct gt_err *err)
{
	return written(w, GT_LAYER_ZSTD, &packed, err);
}

/* ---- as a root file system ---- */

static void layer_there(struct world *w)
{
	struct gt_err err = { 0 };

	archive(w);
	if (plain(w, &err) < 0)
		broken("%s", err.text);
}

static int mount_it(struct world *w, struct gt_err *err)
{
	char tar_path[128], index[128];
	gt_auto(fd) int mnt = -EBADF;
	bool opaque = true;
	struct stat st;

	snprintf(tar_path, sizeof(tar_path), "%s/layer.tar", w->dir);
	snprintf(index, sizeof(index), "%s/layer.erofs", w->dir);
	int r = gt_layer_mount(tar_path, index, &mnt, err);

	if (r == 0)
		r = gt_layer_opaque(mnt, &opaque, err);
	if (r == 0 && (opaque || (fstatat(mnt, "etc/x", &st, 0) < 0 && errno == ENOENT)))
		wrong(w, "mounted, and empty");
	return r;
}

static int extract(struct world *w, struct gt_err *err)
{
	gt_auto(fd) int in = -EBADF, dir = -EBADF, mnt = -EBADF;
	struct stat st;
	int r;

	remove_all("root");
	if (mkdir("root", 0755) < 0)
		return gt_err_errno(err, errno, "root");
	in = open("layer.tar", O_RDONLY | O_CLOEXEC);
	dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in < 0 || dir < 0)
		return gt_err_errno(err, errno, "root");
	r = gt_layer_extract(in, dir, 100000, err);
	if (r == 0 && (fstatat(dir, "large", &st, 0) < 0 ? errno == ENOENT : st.st_size != 200000))
		wrong(w, "unpacked, and something is missing");
	return r < 0 ? r : gt_layer_mount_dir(dir, &mnt, err);
}

/* ---- a registry, in another process ---- */

static pid_t server;
static struct reg *world; /* as it is there: its client is this process's own */

static void with_registry(struct world *w)
{
	int tell[2];
	void *state;

	(void)w;
	MUST(pipe(tell) == 0);
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	MUST(world != MAP_FAILED);
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		MUST(reg_setup(&state) == 0);
		memcpy(world, state, sizeof(*world));
		MUST(write(tell[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	char x;

	MUST(read(tell[0], &x, 1) == 1);
	close(tell[0]);
	close(tell[1]);
}

static void without_registry(struct world *w)
{
	(void)w;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	munmap(world, sizeof(*world));
}

static int take(const void *data, size_t len, void *arg, struct gt_err *err)
{
	return gt_buf_add(arg, data, len) < 0 ? gt_err_set(err, ENOBUFS, "overloaded", "no memory")
					      : 0;
}

static int pull_with(struct world *w, struct gt_registry *r, struct gt_manifest **m,
		     struct gt_err *err)
{
	gt_auto(buf) struct gt_buf got = { 0 };
	struct gt_image_config *config = NULL;
	struct gt_ref ref;
	gt_auto(free) char *text = gt_asprintf("%s/team/echo:1", world->ref.host);
	int res = gt_ref_parse(text, &ref, err);

	if (res == 0)
		res = gt_registry_manifest(r, &ref, NULL, m, err);
	if (res == 0)
		res = gt_registry_config(r, &ref, *m, NULL, &config, err);
	gt_image_config_free(config);
	if (res == 0)
		res = gt_registry_blob(r, &ref, &(*m)->layers[0], NULL, take, &got, err);
	if (res == 0 &&
	    (got.len != LAYER_SIZE || memcmp(got.data, world->layer_data, LAYER_SIZE) != 0))
		wrong(w, "another layer");
	return res;
}

static int pull(struct world *w, struct gt_err *err)
{
	static const struct gt_registry_config config = { .tries = 2, .pause_ms = 1, .stall_s = 5 };
	struct gt_registry *r = NULL;
	struct gt_manifest *m = NULL;
	int res = gt_registry_new(&config, &r, err);

	if (res == 0)
		res = pull_with(w, r, &m, err);
	gt_manifest_free(m);
	gt_registry_free(r);
	return res;
}

const struct scene image_scenes[] = {
	{ "image.layer", KEEPS | WARM, archive, plain, NULL, forget, NULL },
	{ "image.gzip", KEEPS | WARM, gzipped, gzip, NULL, forget, NULL },
	{ "image.zstd", KEEPS | WARM, zstd_packed, zstd, NULL, forget, NULL },
	{ "image.mount", ROOT, layer_there, mount_it, NULL, forget, NULL },
	{ "image.extract", ROOT | KEEPS | WARM, layer_there, extract, NULL, forget, NULL },
	{ "image.pull", WARM, with_registry, pull, NULL, without_registry, NULL },
};
SCENES_OF(image);
