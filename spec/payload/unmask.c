// SPDX-License-Identifier: MIT
/* In a user and a mount namespace of its own, with all capabilities there, tries to take what covers files of the kernel off them. Prints
 * "tried", and before that what succeeded. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, int result) {
  if (result == 0) puts(what);
  fflush(stdout);
}

int main(void) {
  static const char *const covered[] = { "/proc/timer_list", "/proc/keys", "/proc/sys", "/proc/sysrq-trigger", "/sys/firmware", "/proc", "/dev/null" };
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0) { perror("unshare"); return 1; }
  for (unsigned i = 0; i < sizeof covered / sizeof *covered; i++) tell(covered[i], umount2(covered[i], MNT_DETACH));
  tell("/proc/sys, writable", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
  tell("/sys, writable", mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
  if (fork() == 0) { /* it is PID 1, whose /proc would be its own */
    tell("another proc", mount("none", "/tmp", "proc", 0, NULL));
    tell("another sysfs", mount("none", "/tmp", "sysfs", 0, NULL));
    _exit(0);
  }
  wait(NULL);
  puts("tried");
  return 0;
}
