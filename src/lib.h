/* SPDX-License-Identifier: MIT
 * What every file of casulo.sys shares: results, argument checks, descriptors. */
#ifndef CASULO_LIB_H
#define CASULO_LIB_H

#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define DESCRIPTOR "casulo.descriptor"
#define PROGRAM "casulo.program"

/* Results. Each call saves errno first and passes it on: Lua's allocator may change it. */
int sys_failure(lua_State *L, int saved_errno, const char *format, ...);
int sys_status(lua_State *L, int result, int saved_errno, const char *format, ...);
int sys_integer(lua_State *L, long result, int saved_errno, const char *format, ...);
const char *name_or_null(const char *string);

/* Values. Each returns what is wrong with the value at an index, or NULL. */
const char *string_of(lua_State *L, int index, const char **string);
const char *integer_of(lua_State *L, int index, lua_Integer least, lua_Integer most, lua_Integer *value);
const char *list_of(lua_State *L, int index, size_t *length);
const char *strings_of(lua_State *L, int index, char ***strings, size_t *count);
const char *gids_of(lua_State *L, int index, gid_t **gids, size_t *count);
const char *signals_of(lua_State *L, int index, sigset_t *set);
int fd_of(lua_State *L, int index, int *fd);
int limit_of(lua_State *L, int index, rlim_t *limit);
#define LIMIT_EXPECTED "expected an integer, or RLIM_INFINITY"

/* Arguments. Each raises, naming the argument, when the value does not fit. */
void arg_count(lua_State *L, int most);
const char *arg_string(lua_State *L, int index);
const char *arg_string_or_null(lua_State *L, int index);
lua_Integer arg_range(lua_State *L, int index, lua_Integer least, lua_Integer most);
int arg_int(lua_State *L, int index);
int arg_int_or(lua_State *L, int index, int when_absent);
unsigned arg_uint(lua_State *L, int index);
unsigned arg_uint_or(lua_State *L, int index, unsigned when_absent);
unsigned arg_id(lua_State *L, int index);
int arg_fd(lua_State *L, int index);
char **arg_strings(lua_State *L, int index);
gid_t *arg_gids(lua_State *L, int index, size_t *count);
void arg_signals(lua_State *L, int index, sigset_t *set);
struct pollfd *arg_pollfds(lua_State *L, int index, size_t *count);

/* Whether an option of prctl is one that casulo knows. None of them makes the kernel write into memory. */
int prctl_takes_integers(int option);

/* A request of ioctl that casulo knows: what it points to, or a size of 0 where it takes an integer. */
struct ioctl_request {
  unsigned number;
  size_t size;
  const char *structure;
  bool opens; /* what it returns is a descriptor */
};
const struct ioctl_request *ioctl_request(unsigned number);
#define IOCTL_EXPECTED "not a request of ioctl that casulo knows"

/* struct landlock_net_port_attr, which the headers of today lack: its bytes. */
enum { LANDLOCK_NET_PORT_ATTR = 16 };

/* Descriptors: made closed, so that nothing can fail once the kernel has opened one. */
int *descriptor_new(lua_State *L);
int sys_descriptor(lua_State *L, int *descriptor, int fd, int saved_errno, const char *format, ...);

/* One a subject: adds its functions to the table on top of the stack. */
void open_result(lua_State *L);
void open_descriptor(lua_State *L);
void open_file(lua_State *L);
void open_path(lua_State *L);
void open_mount(lua_State *L);
void open_process(lua_State *L);
void open_wait(lua_State *L);
void open_signal(lua_State *L);
void open_seccomp(lua_State *L);
void open_landlock(lua_State *L);
void open_resource(lua_State *L);
void open_identity(lua_State *L);
void open_names(lua_State *L);
void open_ioctl(lua_State *L);
void open_socket(lua_State *L);
void open_program(lua_State *L);
void open_image(lua_State *L);
void open_clone(lua_State *L);
void open_constants(lua_State *L);

/* Whether this process has ever started a child by `clone`. */
extern bool sys_has_cloned;

#endif
