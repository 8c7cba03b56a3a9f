/// @file
/// What the handles of objects in shared memory (queue, mutex, guarded) have in common.
#pragma once

#include <cstddef>
#include <typeinfo>

namespace bulkhead::detail {

/// Copies of a T name one object that lies in shared memory.
template <class T>
inline constexpr bool is_handle = false;

/// What an object in shared memory holds, so that it is not mistaken for one of another type.
struct type_tag {
    const char* mangled_name;
    std::size_t bytes;
    std::size_t alignment;
};

template <class T>
[[nodiscard]] type_tag type_tag_of() noexcept {
    return {typeid(T).name(), sizeof(T), alignof(T)};
}

}  // namespace bulkhead::detail
