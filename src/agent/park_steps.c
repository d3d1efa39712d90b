/* park_steps.c - see the header: one function for each thing that can be done says what follows. */
#include "park_steps.h"

#include <string.h>

#define WAIT_NS (10 * GT_NS_PER_S) /* for the kernel, or for memory of a GPU */

const char *gt_park_do_name(enum park_do d)
{
	static const char *const names[] = {
		[PARK_RESERVE] = "reserve", [PARK_SLEEP] = "sleep",
		[PARK_FIND] = "find",       [PARK_STATE] = "state",
		[PARK_LOCK] = "lock",       [PARK_CHECKPOINT] = "checkpoint",
		[PARK_FREEZE] = "freeze",   [PARK_GIVE] = "give",
		[PARK_TAKE] = "take",       [PARK_FREE] = "free",
		[PARK_THAW] = "thaw",       [PARK_RESTORE] = "restore",
		[PARK_UNLOCK] = "unlock",   [PARK_WAKE] = "wake",
		[PARK_PROBE] = "probe",     [PARK_WAIT] = "wait",
		[PARK_PARKED] = "parked",   [PARK_READY] = "ready",
		[PARK_KILL] = "kill",
	};

	_Static_assert(GT_LEN(names) == PARK_DO_N, "everything has a name");
	return (unsigned)d < PARK_DO_N ? names[d] : "unknown";
}

static enum park_do kill_it(struct park_steps *s, const char *why)
{
	s->why = why;
	return PARK_KILL;
}

/* ---- taking back ---- */

static bool any(const struct park_steps *s, enum park_proc state)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->procs[i] == state)
			return true;
	return false;
}

static enum park_do awake(const struct park_steps *s)
{
	return s->asleep ? PARK_WAKE : PARK_READY;
}

/* The next one that is locked. */
static enum park_do unlock_next(struct park_steps *s)
{
	for (s->i = 0; s->i < s->n; s->i++)
		if (s->procs[s->i] == PARK_LOCKED)
			return PARK_UNLOCK;
	return awake(s);
}

static enum park_do take_back(struct park_steps *s, const char *why)
{
	s->undo = true;
	s->why = why;
	return s->frozen ? PARK_THAW : unlock_next(s);
}

/* ---- asking and waiting ---- */

static enum park_do ask(struct park_steps *s)
{
	s->about = s->at;
	s->asked_twice = false;
	s->until_ns = 0;
	return PARK_STATE;
}

/* Again in a moment, or `otherwise` when that has lasted too long. */
static enum park_do wait_for(struct park_steps *s, uint64_t now_ns, enum park_do otherwise,
			     const char *why)
{
	if (s->until_ns == 0)
		s->until_ns = now_ns + WAIT_NS;
	if (now_ns >= s->until_ns) {
		s->why = why;
		return otherwise;
	}
	s->again = s->at;
	return PARK_WAIT;
}

/* ---- off ---- */

static enum park_do gpu_left(struct park_steps *s)
{
	return s->on_gpu ? PARK_GIVE : PARK_PARKED;
}

static enum park_do after_reserve(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came != PARK_OK)
		return take_back(s, "the node's parking_memory is full");
	if (s->hook)
		return PARK_SLEEP;
	return s->method == GT_PARK_CUDA ? PARK_FIND : PARK_FREEZE;
}

static enum park_do after_sleep(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came != PARK_OK)
		return kill_it(s, "it did not go to sleep");
	s->asleep = true;
	return s->method == GT_PARK_CUDA ? PARK_FIND : gpu_left(s);
}

static enum park_do after_find(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came != PARK_OK || s->n > PARK_PROCS_MAX) {
		s->n = 0;
		return take_back(s, "its processes on the GPU could not be found");
	}
	memset(s->procs, 0, sizeof(s->procs));
	s->i = 0;
	return s->n > 0 ? PARK_LOCK : PARK_FREEZE;
}

static enum park_do locked(struct park_steps *s)
{
	s->procs[s->i] = PARK_LOCKED;
	if (++s->i < s->n)
		return PARK_LOCK;
	s->i = 0;
	return PARK_CHECKPOINT;
}

static enum park_do after_lock(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came == PARK_OK)
		return locked(s);
	if (came != PARK_AGAIN)
		return ask(s);
	s->procs[s->i] = PARK_LOCKED; /* it may be, in part */
	return take_back(s, "work on the GPU did not end in time");
}

static enum park_do checkpointed(struct park_steps *s)
{
	s->procs[s->i] = PARK_CHECKPOINTED;
	return ++s->i < s->n ? PARK_CHECKPOINT : PARK_FREEZE;
}

static enum park_do after_checkpoint(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	return came == PARK_OK ? checkpointed(s) : ask(s);
}

/* One that is checkpointed stands still as soon as it asks the driver for something; the freezer
 * saves the rest of its time, and may fail. */
static enum park_do after_freeze(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	enum park_do next = PARK_FREEZE;

	if (came == PARK_OK) {
		s->frozen = true;
		return gpu_left(s);
	}
	if (came == PARK_AGAIN)
		next = wait_for(s, now_ns, PARK_FREEZE, NULL);
	if (next == PARK_WAIT)
		return next;
	s->frozen = true; /* a part of it may be */
	return s->method == GT_PARK_CUDA ? gpu_left(s)
					 : take_back(s, "the kernel did not freeze it");
}

static enum park_do after_give(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)came;
	(void)now_ns;
	s->on_gpu = false;
	return PARK_PARKED;
}

/* ---- back ---- */

static enum park_do after_take(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	if (came == PARK_AGAIN)
		return wait_for(s, now_ns, PARK_KILL, "its GPU was not given back to it");
	if (came != PARK_OK)
		return kill_it(s, "its GPU was not given back to it");
	s->on_gpu = true;
	s->until_ns = 0;
	if (s->method == GT_PARK_CUDA)
		return PARK_FREE;
	return s->frozen ? PARK_THAW : awake(s);
}

static enum park_do after_free(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	static const char why[] = "the GPU does not have the memory for it";

	if (came == PARK_OK)
		return PARK_THAW;
	return came == PARK_AGAIN ? wait_for(s, now_ns, PARK_KILL, why) : kill_it(s, why);
}

static enum park_do after_thaw(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came != PARK_OK)
		return kill_it(s, "the kernel did not thaw it");
	s->frozen = false;
	if (s->undo)
		return unlock_next(s);
	s->i = 0;
	return s->method == GT_PARK_CUDA && s->n > 0 ? PARK_RESTORE : awake(s);
}

static enum park_do restored(struct park_steps *s)
{
	s->procs[s->i] = PARK_LOCKED;
	return ++s->i < s->n ? PARK_RESTORE : unlock_next(s);
}

static enum park_do after_restore(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came == PARK_OK)
		return restored(s);
	return came == PARK_LOST ? ask(s) : kill_it(s, "the driver did not restore it");
}

static enum park_do unlocked(struct park_steps *s)
{
	s->procs[s->i] = PARK_RUNS;
	return unlock_next(s);
}

static enum park_do after_unlock(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	return came == PARK_OK ? unlocked(s) : ask(s);
}

static enum park_do after_wake(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	if (came != PARK_OK)
		return kill_it(s, "it did not wake up");
	s->asleep = false;
	return PARK_PROBE;
}

static enum park_do after_probe(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)now_ns;
	return came == PARK_OK ? PARK_READY : kill_it(s, "it did not answer when it was back");
}

/* ---- after a failure ---- */

static enum park_do state_told(struct park_steps *s, enum park_came is)
{
	switch (s->about) {
	case PARK_LOCK:
		if (is == PARK_IS_LOCKED)
			s->procs[s->i] = PARK_LOCKED;
		else if (is != PARK_IS_RUNNING)
			break;
		return take_back(s, "the driver did not lock it");
	case PARK_CHECKPOINT:
		if (is == PARK_IS_CHECKPOINTED)
			return checkpointed(s);
		if (is != PARK_IS_LOCKED || any(s, PARK_CHECKPOINTED))
			break;
		return take_back(s, "the driver did not checkpoint it");
	case PARK_RESTORE:
		if (is == PARK_IS_LOCKED)
			return restored(s);
		break;
	case PARK_UNLOCK:
		if (is == PARK_IS_RUNNING)
			return unlocked(s);
		break;
	default:
		break;
	}
	return kill_it(s, "the driver has it in a state that it does not come back from");
}

static enum park_do after_state(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	static const char why[] = "the driver does not say how it is";

	if (came >= PARK_IS_RUNNING)
		return state_told(s, came);
	if (came == PARK_LOST) /* another helper is on its way */
		return wait_for(s, now_ns, PARK_KILL, why);
	if (s->asked_twice)
		return kill_it(s, why);
	s->asked_twice = true;
	return PARK_STATE;
}

static enum park_do after_wait(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	(void)came;
	(void)now_ns;
	return s->again;
}

/* ---- the way ---- */

void gt_park_steps_init(struct park_steps *s, enum gt_park_method method, bool hook, bool gpus)
{
	*s = (struct park_steps){ .method = method, .hook = hook, .gpus = gpus, .on_gpu = gpus };
}

enum park_do gt_park_begin(struct park_steps *s, bool off)
{
	s->off = off;
	s->undo = false;
	s->why = NULL;
	s->until_ns = 0;
	s->i = 0;
	if (off)
		s->at = PARK_RESERVE;
	else if (s->gpus)
		s->at = PARK_TAKE;
	else
		s->at = s->frozen ? PARK_THAW : awake(s);
	return s->at;
}

enum park_do gt_park_next(struct park_steps *s, enum park_came came, uint64_t now_ns)
{
	static enum park_do (*const after[])(struct park_steps *, enum park_came, uint64_t) = {
		[PARK_RESERVE] = after_reserve, [PARK_SLEEP] = after_sleep,
		[PARK_FIND] = after_find,       [PARK_STATE] = after_state,
		[PARK_LOCK] = after_lock,       [PARK_CHECKPOINT] = after_checkpoint,
		[PARK_FREEZE] = after_freeze,   [PARK_GIVE] = after_give,
		[PARK_TAKE] = after_take,       [PARK_FREE] = after_free,
		[PARK_THAW] = after_thaw,       [PARK_RESTORE] = after_restore,
		[PARK_UNLOCK] = after_unlock,   [PARK_WAKE] = after_wake,
		[PARK_PROBE] = after_probe,     [PARK_WAIT] = after_wait,
	};

	_Static_assert(GT_LEN(after) == PARK_PARKED, "something follows all but the ends");
	s->at = after[s->at](s, came, now_ns);
	return s->at;
}
