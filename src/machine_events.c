/*
 * What the main loop hears while the machine runs: signals and timers.
 */
#include "machine.h"
#include "machine_parts.h"

#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* How long a guest has run when it is past its first look at the clocks. */
#define SETTLED_MS 100

static void machine_signalled(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGPWR:
		power_button(&m->power);
		break;
	case SIGCONT:
		machine_retry_disks(m);
		break;
	case SIGUSR2:
		machine_resize_disks(m);
		break;
	default:
		vm_end(&m->vm, END_SIGNAL, info.ssi_signo);
	}
}

static void machine_timed_out(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, timeout);

	(void)events;
	vm_end(&m->vm, END_TIMEOUT, 0);
}

/*
 * By default KVM makes up for PIT ticks that the guest was too slow for. No
 * kernel with another clock wants that, and it keeps AMD's AVIC off. To turn it
 * off takes two grace periods of the kernel, often 16 ms; otherwise the end of
 * the run would wait for them. vCPU 0 may have to wait meanwhile if it changes
 * its CPU, so this is not done while the guest starts.
 */
static void machine_settled(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, settled);
	struct kvm_reinject_control never = { .pit_reinject = 0 };
	int err = kvm_ioctl_value(m->vm.fd, KVM_REINJECT_CONTROL, &never);

	(void)events;
	if (err)
		log_debug("KVM_REINJECT_CONTROL: %s", strerror(-err));
	loop_remove(&m->loop, watch);
}

/* Signals are taken by the loop; threads inherit that they are blocked. */
static int machine_take_signals(struct machine *m)
{
	struct sigaction hangup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	/* Not one that nohup(1) has told us to ignore. */
	sigaction(SIGHUP, NULL, &hangup);
	if (hangup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPWR);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	m->signals = (struct watch){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.ready = machine_signalled,
	};
	if (m->signals.fd < 0)
		return -errno;
	return loop_add(&m->loop, &m->signals, EPOLLIN);
}

/* Calls @ready once, in @ms milliseconds. */
static int machine_set_timer(struct machine *m, struct watch *watch,
			     uint64_t ms,
			     void (*ready)(struct watch *, uint32_t))
{
	struct itimerspec at = {
		.it_value = { .tv_sec = ms / 1000,
			      .tv_nsec = ms % 1000 * 1000000 },
	};

	watch->ready = ready;
	watch->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (watch->fd < 0 || timerfd_settime(watch->fd, 0, &at, NULL) < 0)
		return -errno;
	return loop_add(&m->loop, watch, EPOLLIN);
}

void machine_ignore_events(struct machine *m)
{
	struct watch *watches[] = { &m->signals, &m->timeout, &m->settled };

	for (size_t i = 0; i < ARRAY_SIZE(watches); i++) {
		if (watches[i]->fd >= 0)
			close(watches[i]->fd);
	}
}

int machine_watch_events(struct machine *m)
{
	int err;

	m->timeout.fd = m->signals.fd = m->settled.fd = -1;
	err = machine_take_signals(m);
	if (!err && m->config->timeout)
		err = machine_set_timer(m, &m->timeout,
					m->config->timeout * 1000,
					machine_timed_out);
	if (!err)
		err = machine_set_timer(m, &m->settled, SETTLED_MS,
					machine_settled);
	if (!err)
		return 0;
	machine_ignore_events(m);
	return machine_stage_failed("signals and timers", EXIT_CODE_HOST, err);
}
