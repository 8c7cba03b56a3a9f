// The process tests start themselves again as workers, so init comes before Boost.Test's main.
#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

namespace {
bool nothing_to_set_up() { return true; }
}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    return boost::unit_test::unit_test_main(&nothing_to_set_up, argc, argv);
}
