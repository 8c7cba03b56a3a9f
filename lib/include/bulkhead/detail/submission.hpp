/// @file
/// One task as the core of a process_pool sees it.
#pragma once

#include <bulkhead/task.hpp>

namespace bulkhead::detail {

struct submission {
    code_ref entry;
    /// Its function takes a std::stop_token: a cancel asks first and kills after the grace.
    bool takes_stop_token = false;
    /// Made of several items (task_call::run_chunk).
    bool chunk = false;
};

}  // namespace bulkhead::detail
