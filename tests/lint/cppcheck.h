/* What cppcheck does not find, since it reads no system headers: macros that stand where a loop does. */
#ifndef OBLIVIATE_CPPCHECK_H
#define OBLIVIATE_CPPCHECK_H

#define json_array_foreach(array, i, value)	for ((i) = 0; next_element(array, i, &(value)); (i)++)
#define json_object_foreach(object, key, value) for (; next_member(object, &(key), &(value));)

#endif
