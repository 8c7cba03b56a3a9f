// expect: what lies in shared memory must be trivially copyable
#include <bulkhead/bulkhead.hpp>

int main() { const bulkhead::shared_value<std::string> text; }
