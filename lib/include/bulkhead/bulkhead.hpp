/// @file
/// All of Bulkhead but the opt-in headers (asio.hpp, serialization.hpp).
#pragma once

#include <bulkhead/barrier.hpp>
#include <bulkhead/codec.hpp>
#include <bulkhead/condition_variable.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/event.hpp>
#include <bulkhead/exception.hpp>
#include <bulkhead/future.hpp>
#include <bulkhead/guarded.hpp>
#include <bulkhead/init.hpp>
#include <bulkhead/mutex.hpp>
#include <bulkhead/named_task.hpp>
#include <bulkhead/options.hpp>
#include <bulkhead/process.hpp>
#include <bulkhead/process_pool.hpp>
#include <bulkhead/queue.hpp>
#include <bulkhead/semaphore.hpp>
#include <bulkhead/shared_array.hpp>
#include <bulkhead/shared_map.hpp>
#include <bulkhead/shared_mutex.hpp>
#include <bulkhead/shared_value.hpp>
#include <bulkhead/task_executor.hpp>
#include <bulkhead/thread_pool.hpp>
#include <bulkhead/wait.hpp>
