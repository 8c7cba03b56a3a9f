// A boost::interprocess::message_queue of another program's, for bulkhead-writer and bulkhead-reader.
#pragma once

#include "stream_queue.hpp"

namespace bulkhead::tools {

/// Opens the queue options.queue, which has to be there. It is used by try_ calls alone, with a nap when there
/// is nothing to do, since whoever waits inside a message_queue can be left there by another's death. What
/// no care can avoid: a user that is stopped inside it stops all others, and one that dies inside may leave
/// it unusable; that is then said. Both throw std::runtime_error.
[[nodiscard]] std::unique_ptr<message_sink> open_boost_sink(const stream_options& options);
/// It never ends.
[[nodiscard]] std::unique_ptr<message_source> open_boost_source(const stream_options& options);

}  // namespace bulkhead::tools
