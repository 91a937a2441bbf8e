// SPDX-License-Identifier: MIT
/* Executes a command without supplementary groups, where it may leave them; says nothing where it may not. */
#include <grp.h>
#include <unistd.h>

int main(int count, char **word) {
  if (count < 2 || setgroups(0, NULL) != 0) return 1;
  execvp(word[1], word + 1);
  return 127;
}
