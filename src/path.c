// SPDX-License-Identifier: MIT
/* Names in a file system: making, linking, removing, looking at and listing them. */
#define _GNU_SOURCE
#include "lib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static int made_directory(lua_State *L, int dirfd, const char *path, mode_t mode) {
  int result = mkdirat(dirfd, path, mode), err = errno;
  return sys_status(L, result, err, "mkdir %s", path);
}

/*** Makes a directory.
@function mkdir
@tparam string path
@tparam integer mode
@see mkdir(2)
*/
static int sys_mkdir(lua_State *L) {
  arg_count(L, 2);
  return made_directory(L, AT_FDCWD, arg_string(L, 1), arg_uint(L, 2));
}

/*** Makes a directory relative to another.
@function mkdirat
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam integer mode
@see mkdirat(2)
*/
static int sys_mkdirat(lua_State *L) {
  arg_count(L, 3);
  return made_directory(L, arg_fd(L, 1), arg_string(L, 2), arg_uint(L, 3));
}

static int made_node(lua_State *L, int dirfd, const char *path, mode_t mode, dev_t device) {
  int result = mknodat(dirfd, path, mode, device), err = errno;
  return sys_status(L, result, err, "mknod %s", path);
}

/*** Makes a file, a FIFO or a device.
@function mknod
@tparam string path
@tparam integer mode S_IF… and permissions
@tparam[opt=0] integer device
@see mknod(2)
*/
static int sys_mknod(lua_State *L) {
  arg_count(L, 3);
  return made_node(L, AT_FDCWD, arg_string(L, 1), arg_uint(L, 2), arg_uint_or(L, 3, 0));
}

/*** Makes a file, a FIFO or a device relative to a directory.
@function mknodat
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam integer mode S_IF… and permissions
@tparam[opt=0] integer device
@see mknodat(2)
*/
static int sys_mknodat(lua_State *L) {
  arg_count(L, 4);
  return made_node(L, arg_fd(L, 1), arg_string(L, 2), arg_uint(L, 3), arg_uint_or(L, 4, 0));
}

static int made_symlink(lua_State *L, const char *target, int dirfd, const char *path) {
  int result = symlinkat(target, dirfd, path), err = errno;
  return sys_status(L, result, err, "symlink %s to %s", path, target);
}

/*** Makes a symbolic link.
@function symlink
@tparam string target
@tparam string path
@see symlink(2)
*/
static int sys_symlink(lua_State *L) {
  arg_count(L, 2);
  return made_symlink(L, arg_string(L, 1), AT_FDCWD, arg_string(L, 2));
}

/*** Makes a symbolic link relative to a directory.
@function symlinkat
@tparam string target
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@see symlinkat(2)
*/
static int sys_symlinkat(lua_State *L) {
  arg_count(L, 3);
  return made_symlink(L, arg_string(L, 1), arg_fd(L, 2), arg_string(L, 3));
}

/*** Where a symbolic link leads.
@function readlink
@tparam string path
@treturn string
@see readlink(2)
*/
static int sys_readlink(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  char target[PATH_MAX];
  ssize_t length = readlink(path, target, sizeof target);
  int err = errno;
  if (length == -1) return sys_failure(L, err, "readlink %s", path);
  lua_pushlstring(L, target, (size_t)length);
  return 1;
}

/*** Makes a second name for a file.
@function link
@tparam string old
@tparam string new
@see link(2)
*/
static int sys_link(lua_State *L) {
  arg_count(L, 2);
  const char *old = arg_string(L, 1), *new = arg_string(L, 2);
  int result = link(old, new), err = errno;
  return sys_status(L, result, err, "link %s to %s", new, old);
}

/*** Gives a file another name.
@function rename
@tparam string old
@tparam string new
@see rename(2)
*/
static int sys_rename(lua_State *L) {
  arg_count(L, 2);
  const char *old = arg_string(L, 1), *new = arg_string(L, 2);
  int result = rename(old, new), err = errno;
  return sys_status(L, result, err, "rename %s to %s", old, new);
}

/*** Removes the name of a file.
@function unlink
@tparam string path
@see unlink(2)
*/
static int sys_unlink(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  int result = unlink(path), err = errno;
  return sys_status(L, result, err, "unlink %s", path);
}

/*** Removes an empty directory.
@function rmdir
@tparam string path
@see rmdir(2)
*/
static int sys_rmdir(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  int result = rmdir(path), err = errno;
  return sys_status(L, result, err, "rmdir %s", path);
}

/*** Changes permissions.
@function chmod
@tparam string path
@tparam integer mode
@see chmod(2)
*/
static int sys_chmod(lua_State *L) {
  arg_count(L, 2);
  const char *path = arg_string(L, 1);
  int result = chmod(path, arg_uint(L, 2)), err = errno;
  return sys_status(L, result, err, "chmod %s", path);
}

/*** Changes who owns a file; -1 leaves an id as it is.
@function chown
@tparam string path
@tparam integer uid
@tparam integer gid
@see chown(2)
*/
static int sys_chown(lua_State *L) {
  arg_count(L, 3);
  const char *path = arg_string(L, 1);
  int result = chown(path, arg_id(L, 2), arg_id(L, 3)), err = errno;
  return sys_status(L, result, err, "chown %s", path);
}

/*** Changes the owner of an open file.
@function fchown
@tparam descriptor fd
@tparam integer uid -1 for unchanged
@tparam integer gid -1 for unchanged
@see fchown(2)
*/
static int sys_fchown(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  int result = fchown(fd, arg_id(L, 2), arg_id(L, 3)), err = errno;
  return sys_status(L, result, err, "fchown %d", fd);
}

/*** Sets the mode bits that new files lack. Never fails.
@function umask
@tparam integer mask 0 to 0777 (octal)
@treturn integer the mask before
@see umask(2)
*/
static int sys_umask(lua_State *L) {
  arg_count(L, 1);
  lua_pushinteger(L, umask((mode_t)arg_range(L, 1, 0, 0777)));
  return 1;
}

static void set_field(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static int push_stat(lua_State *L, const struct stat *s) {
  lua_createtable(L, 0, 11);
  set_field(L, "dev", (lua_Integer)s->st_dev);
  set_field(L, "ino", (lua_Integer)s->st_ino);
  set_field(L, "mode", s->st_mode);
  set_field(L, "nlink", (lua_Integer)s->st_nlink);
  set_field(L, "uid", s->st_uid);
  set_field(L, "gid", s->st_gid);
  set_field(L, "rdev", (lua_Integer)s->st_rdev);
  set_field(L, "size", s->st_size);
  set_field(L, "mtime", s->st_mtime);
  return 1;
}

static int stat_by(lua_State *L, int (*call)(const char *, struct stat *), const char *name) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  struct stat s;
  int result = call(path, &s), err = errno;
  return result == -1 ? sys_failure(L, err, "%s %s", name, path) : push_stat(L, &s);
}

/*** Looks at a file.
@function stat
@tparam string path
@treturn table `dev ino mode nlink uid gid rdev size` (bytes) `mtime` (seconds)
@see stat(2)
*/
static int sys_stat(lua_State *L) { return stat_by(L, stat, "stat"); }

/*** Looks at a file, or at a symbolic link itself.
@function lstat
@tparam string path
@treturn table as of `stat`
@see lstat(2)
*/
static int sys_lstat(lua_State *L) { return stat_by(L, lstat, "lstat"); }

/*** Looks at an open file.
@function fstat
@tparam descriptor fd
@treturn table as of `stat`
@see fstat(2)
*/
static int sys_fstat(lua_State *L) {
  arg_count(L, 1);
  int fd = arg_fd(L, 1);
  struct stat s;
  int result = fstat(fd, &s), err = errno;
  return result == -1 ? sys_failure(L, err, "fstat %d", fd) : push_stat(L, &s);
}

/*** Looks at a file system.
@function statfs
@tparam string path
@treturn table `type bsize` (bytes) `blocks bfree bavail files ffree flags`
@see statfs(2)
*/
static int sys_statfs(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  struct statfs s;
  int result = statfs(path, &s), err = errno;
  if (result == -1) return sys_failure(L, err, "statfs %s", path);
  lua_createtable(L, 0, 8);
  set_field(L, "type", (lua_Integer)s.f_type);
  set_field(L, "bsize", (lua_Integer)s.f_bsize);
  set_field(L, "blocks", (lua_Integer)s.f_blocks);
  set_field(L, "bfree", (lua_Integer)s.f_bfree);
  set_field(L, "bavail", (lua_Integer)s.f_bavail);
  set_field(L, "files", (lua_Integer)s.f_files);
  set_field(L, "ffree", (lua_Integer)s.f_ffree);
  set_field(L, "flags", (lua_Integer)s.f_flags);
  return 1;
}

static int is_entry(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Runs protected, so that the list is freed whatever happens. */
static int push_names(lua_State *L) {
  struct dirent **entries = lua_touserdata(L, 1);
  lua_Integer count = lua_tointeger(L, 2);
  lua_createtable(L, (int)count, 0);
  for (lua_Integer i = 0; i < count; i++) {
    lua_pushstring(L, entries[i]->d_name);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/*** The names in a directory without "." and "..", in the order of their bytes.
@function scandir
@tparam string path
@treturn {string,...}
@see scandir(3)
*/
static int sys_scandir(lua_State *L) {
  arg_count(L, 1);
  const char *path = arg_string(L, 1);
  lua_pushcfunction(L, push_names);
  struct dirent **entries;
  int count = scandir(path, &entries, is_entry, alphasort), err = errno;
  if (count == -1) return sys_failure(L, err, "scandir %s", path);
  lua_pushlightuserdata(L, entries);
  lua_pushinteger(L, count);
  int status = lua_pcall(L, 2, 1, 0);
  while (count > 0) free(entries[--count]);
  free(entries);
  return status == LUA_OK ? 1 : lua_error(L);
}

static const luaL_Reg functions[] = {
  { "mkdir", sys_mkdir },         { "mkdirat", sys_mkdirat },   { "mknod", sys_mknod },   { "mknodat", sys_mknodat },
  { "symlink", sys_symlink },     { "symlinkat", sys_symlinkat }, { "readlink", sys_readlink }, { "link", sys_link },
  { "rename", sys_rename },       { "unlink", sys_unlink },     { "rmdir", sys_rmdir },   { "chmod", sys_chmod },
  { "fchown", sys_fchown },       { "chown", sys_chown },         { "umask", sys_umask },       { "stat", sys_stat },     { "lstat", sys_lstat },
  { "fstat", sys_fstat },         { "statfs", sys_statfs },     { "scandir", sys_scandir }, { NULL, NULL },
};

void open_path(lua_State *L) { luaL_setfuncs(L, functions, 0); }
