// Few descriptors, for as long as a test wants them to be few.
#pragma once

#include <sys/resource.h>

namespace test {

/// This process's soft limit; what is open above it stays open. The old one comes back at the end.
class descriptor_limit {
public:
    explicit descriptor_limit(::rlim_t descriptors_max) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        ::rlimit tight = before_;
        tight.rlim_cur = descriptors_max;
        ::setrlimit(RLIMIT_NOFILE, &tight);
    }
    ~descriptor_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    descriptor_limit(const descriptor_limit&) = delete;
    descriptor_limit& operator=(const descriptor_limit&) = delete;

private:
    ::rlimit before_{};
};

}  // namespace test
