/// @file
/// One task as the core of a process_pool sees it.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/arriving_value.hpp>
#include <bulkhead/task.hpp>

#include <optional>
#include <type_traits>

namespace bulkhead::detail {

/// What a task gives.
struct result_type {
    /// For future::get().
    void (*read)(decoder& in, void* out);
    /// Of one that may be built as it arrives, else null.
    arriving_maker make_arriving;
};

struct submission {
    code_ref entry;
    /// Its function takes a std::stop_token: a cancel asks first and kills after the grace.
    bool takes_stop_token = false;
    /// Made of several items (task_call::run_chunk).
    bool chunk = false;
    /// None of a chunk.
    const result_type* gives = nullptr;
};

/// Reads a T into a std::optional<T>.
template <class T>
void read_result(decoder& in, void* out) {
    if constexpr (!std::is_void_v<T>) static_cast<std::optional<T>*>(out)->emplace(in.read<T>());
    in.expect_end();
}

template <class T>
constexpr arriving_maker arriving_maker_of() {
    if constexpr (is_bulk<T>) {
        return &make_arriving<T>;
    } else {
        return nullptr;
    }
}

template <class T>
inline constexpr result_type result_of{&read_result<T>, arriving_maker_of<T>()};

}  // namespace bulkhead::detail
