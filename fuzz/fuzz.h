/* SPDX-License-Identifier: MIT
 * What the parts of the fuzzer share: the input, the values that are made of it, and the kernel that is none. */
#ifndef CASULO_FUZZ_H
#define CASULO_FUZZ_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The input, from its beginning; past its end there are zeros. */
void input_begin(const uint8_t *bytes, size_t size);
bool input_is_over(void);
uint8_t take(void);
uint64_t take_word(void);

/* Pushes a value of any kind. The table of earlier results and of values to choose from is the registry's "kept". */
enum { DEEPEST = 4 };
void push_value(lua_State *L, int depth);
void push_integer(lua_State *L);
void push_function(lua_State *L);
void push_kept(lua_State *L); /* something that an earlier call returned */
void note_victim(lua_State *L); /* the table on top may be changed by metamethods of others */
void push_step(lua_State *L);
void push_steps(lua_State *L);

/* Pushes a function with arguments that it may well take, and returns their number. */
int push_likely_call(lua_State *L, const char **name);
void values_open(lua_State *L);
extern bool any_error_was_raised; /* by a function that was given to a call, which passes on whatever it is */

/* Calls a function of casulo.sys that the input chooses, with arguments of its choice, protected; looks at what it returns. */
void call_something(lua_State *L, int depth);

/* Ends the fuzzer with a message: something came out that may not. */
_Noreturn void defect(const char *format, ...);

/* The calls that are none. What they open and start is counted. */
extern lua_State *current; /* who calls: where a call does not return, it raises */
void kernel_forget_child(long pid);
int kernel_open_count(void);
void kernel_close_all(void);
int kernel_child_count(void);

#endif
