include(CMakePackageConfigHelpers)

install(TARGETS bulkhead EXPORT bulkheadTargets)
install(DIRECTORY lib/include/bulkhead DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(bulkhead_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bulkhead)
configure_package_config_file(
    cmake/bulkheadConfig.cmake.in ${PROJECT_BINARY_DIR}/bulkheadConfig.cmake
    INSTALL_DESTINATION ${bulkhead_package_dir})
# Before 1.0 a minor release may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bulkheadConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/bulkheadConfig.cmake ${PROJECT_BINARY_DIR}/bulkheadConfigVersion.cmake
    DESTINATION ${bulkhead_package_dir})
install(EXPORT bulkheadTargets NAMESPACE bulkhead:: DESTINATION ${bulkhead_package_dir})

# The paths are relative to the file, so that `cmake --install --prefix` gives a package that works.
set(bulkhead_pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
foreach(dir LIBDIR INCLUDEDIR)
    cmake_path(IS_ABSOLUTE CMAKE_INSTALL_${dir} absolute)
    if(absolute)
        set(bulkhead_pc_${dir} ${CMAKE_INSTALL_${dir}})
    else()
        set(bulkhead_pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
    endif()
endforeach()
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${bulkhead_pc_dir}
    OUTPUT_VARIABLE bulkhead_pc_up)
configure_file(cmake/bulkhead.pc.in ${PROJECT_BINARY_DIR}/bulkhead.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bulkhead.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
