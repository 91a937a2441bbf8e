// SPDX-License-Identifier: MIT
/* The keys of the kernel. `hold COMMAND…` executes a command with a session keyring of its own, with a key in it, whose number is put in
 * place of the word KEY. `seek NUMBER` prints what can be read of that key: by its number, and by its name in all keyrings that a
 * process has; "none" when that is nothing. */
#define _GNU_SOURCE
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int hold(char **word) {
  static char number[32];
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
  long key = syscall(SYS_add_key, "user", "casulo-spec", "secret", 6, KEY_SPEC_SESSION_KEYRING);
  if (key < 0) return 125;
  syscall(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f3f3f);
  snprintf(number, sizeof number, "%ld", key);
  for (char **each = word; *each; each++)
    if (strcmp(*each, "KEY") == 0) *each = number;
  execvp(word[0], word);
  return 127;
}

static int read_key(long key) {
  char text[64] = "";
  if (key <= 0 || syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text - 1) < 0) return 0;
  puts(text);
  return 1;
}

int main(int count, char **word) {
  static const int rings[] = { KEY_SPEC_THREAD_KEYRING, KEY_SPEC_PROCESS_KEYRING, KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING,
    KEY_SPEC_USER_SESSION_KEYRING };
  int found = 0;
  if (count < 3) return 2;
  if (strcmp(word[1], "hold") == 0) return hold(word + 2);
  found += read_key(atol(word[2]));
  found += read_key(syscall(SYS_request_key, "user", "casulo-spec", NULL, 0));
  for (size_t i = 0; i < sizeof rings / sizeof *rings; i++)
    found += read_key(syscall(SYS_keyctl, KEYCTL_SEARCH, rings[i], "user", "casulo-spec", 0));
  if (!found) puts("none");
  return 0;
}
