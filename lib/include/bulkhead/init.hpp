/// @file
/// The first statement of main().
#pragma once

namespace bulkhead {

/// Call it first in main(). In an ordinary start it only notes that it was called. In a process that
/// this library started, it runs the tasks (or the one function) that the process is for and never
/// returns; what main() does beyond it happens in the parent alone. Global constructors run in
/// workers too: keep pools out of them.
///
/// A program that makes a process_pool or a process without having called init gets usage_error from
/// that constructor, in parent and worker alike, so it cannot fork-bomb. Calling it again does
/// nothing. Call it from the main thread, before other threads exist.
void init(int argc, char** argv);

namespace detail {
/// Throws usage_error, naming `what`, unless init() has been called in this process.
void require_init(const char* what);
}  // namespace detail

}  // namespace bulkhead
