/// @file
/// One task as the core of a process_pool sees it.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/task.hpp>

#include <optional>
#include <type_traits>

namespace bulkhead::detail {

struct submission {
    code_ref entry;
    /// Its function takes a std::stop_token: a cancel asks first and kills after the grace.
    bool takes_stop_token = false;
    /// Made of several items (task_call::run_chunk).
    bool chunk = false;
    /// Its result's, for future::get().
    void (*read)(decoder& in, void* out) = nullptr;
};

/// Reads a T into a std::optional<T>.
template <class T>
void read_result(decoder& in, void* out) {
    if constexpr (!std::is_void_v<T>) static_cast<std::optional<T>*>(out)->emplace(in.read<T>());
    in.expect_end();
}

}  // namespace bulkhead::detail
