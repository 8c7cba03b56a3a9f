// Exceptions on their way from a task to its future.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/error.hpp>

#include <exception>
#include <span>
#include <string>

namespace bulkhead::detail {

/// Writes the exception being handled: its nearest standard type, its real type's name, what() and
/// what the standard type carries besides (error codes, paths).
void encode_current_exception(encoder& out);

/// "std::runtime_error: no such thing", of the exception being handled.
[[nodiscard]] std::string describe_current_exception();

/// Throws what encode_current_exception() wrote: a class derived from the very standard type and from
/// remote_info, or remote_error. codec_error when the bytes are no such thing.
[[noreturn]] void throw_remote(std::span<const std::byte> bytes, pid_t pid,
                               const std::string& task_name);

/// For tasks of this process: what an exception is at the end of its way from a worker, so that a program that
/// changes its executor catches the same. An own type that arrives as its standard base is nested in that
/// (std::rethrow_if_nested). The library's own errors about workers stay themselves.
[[nodiscard]] std::exception_ptr as_remote(const std::exception_ptr& error,
                                           const std::string& task_name);

}  // namespace bulkhead::detail
