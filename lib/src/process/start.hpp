// How a process of this library learns what it is for.
#pragma once

#include <string>

namespace bulkhead::detail {

/// argv[0] as init() saw it: what children are called in ps.
[[nodiscard]] const std::string& program_name();

inline constexpr const char* worker_flag = "--bulkhead-worker";
inline constexpr const char* process_flag = "--bulkhead-process";

}  // namespace bulkhead::detail
