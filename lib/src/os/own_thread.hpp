// What a thread of the library does first.
#pragma once

namespace bulkhead::os {

/// Signals are for the program's threads.
void block_signals() noexcept;

/// Names this thread, for top and debuggers. At most 15 characters.
void name_thread(const char* name) noexcept;

}  // namespace bulkhead::os
