// How a process of this library learns what it is for.
#pragma once

namespace bulkhead::detail {

inline constexpr const char* worker_flag = "--bulkhead-worker";
inline constexpr const char* process_flag = "--bulkhead-process";

}  // namespace bulkhead::detail
