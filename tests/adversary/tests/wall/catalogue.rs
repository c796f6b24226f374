//! The names of all attempts, each a module of three tests.

use std::collections::BTreeSet;

macro_rules! groups {
    ($($group:ident { $($name:ident)* })*) => {
        const NAMES: &[&str] = &[$($(stringify!($name),)*)*];
        $(mod $group { $(mod $name {
            #[test]
            fn outside() {
                crate::verdict::crosses_outside(stringify!($name));
            }

            #[test]
            fn inside() {
                crate::verdict::is_blocked_inside(stringify!($name));
            }

            #[test]
            fn inside_unprivileged() {
                crate::verdict::is_blocked_inside_unprivileged(stringify!($name));
            }
        })* })*
    };
}

groups! {
    files {
        read_by_path
        see_secret
        list_home
        read_through_dotdot
        read_through_init_root
        read_through_self_root
        read_through_working_directories
        read_through_descriptors
        read_through_old_symlink
        read_through_new_symlink
        link_secret_in
        rename_secret_in
        read_by_handle
        read_by_openat2
        read_by_path_descriptor
        run_from_outside
        watch_outside
        lease_read_only
        lease_with_high_half
        notify_read_only
        create_outside
        append_outside
        create_through_symlink
        write_usr
        write_etc
        write_program
        write_read_only
        truncate_read_only
        remove_read_only
        rename_read_only
        link_read_only
        chmod_read_only
        fchmod_read_only
        fchmodat2_read_only
        chown_read_only
        utime_read_only
        futimens_read_only
        xattr_read_only
        setxattrat_read_only
        flags_read_only
        file_setattr_read_only
        setid_chmod
        setid_fchmod
        setid_fchmodat
        setid_fchmodat2
        setid_group
        setid_open
        setid_openat2
        setid_creat
        setid_mknod
        setid_nameless
    }
    proc {
        see_host_process
        read_own_environment
        read_other_environments
        read_init_maps
        read_init_memory
        write_init_memory
        list_init_descriptors
        open_init_program
        write_core_pattern
        write_sysctl
        write_oom_score
        open_sysrq
        open_kcore
        read_kernel_addresses
        read_host_sockets
        list_host_mounts
        write_sys
        leave_cgroup
    }
    devices {
        open_mem
        open_kmsg
        open_kvm
        open_block_device
        open_loop_control
        open_fuse
        open_tun
        open_vsock_device
        open_userfaultfd_device
        open_console
        open_input
        mknod_device
        mknod_disk
    }
    sockets {
        tcp_loopback
        tcp_fast_open
        tcp_mapped
        mptcp_loopback
        udp_loopback
        udp_connected
        sctp_socket
        smc_socket
        vsock_socket
        packet_socket
        raw_icmp_socket
        ping_socket
        alg_socket
        xdp_socket
        key_socket
        bluetooth_socket
        rds_socket
        tipc_socket
        qipcrtr_socket
        rare_families
        netlink_nftables
        netlink_other
        unix_outside
        unix_before
        unix_after
        unix_read_only
        unix_relative
        unix_symlink
        unix_hard_link
        unix_renamed
        unix_descriptor
        unix_sequenced
        unix_abstract
        unix_sendto
        unix_sendmsg
        unix_sendmmsg
        unix_connected_datagram
        unix_pair_sendto
        unix_pair_reconnect
        unix_race
    }
    ipc {
        system_v_segment
        posix_queue
        shared_memory_file
    }
    ptrace {
        attach_init
        seize_init
        seize_host
        vm_read_init
        vm_write_init
        pidfd_getfd_init
        pidfd_getfd_host
        kcmp_init
        robust_list_init
        move_pages_init
        prlimit_init
    }
    namespaces {
        unshare_user
        unshare_mount
        unshare_pid
        unshare_net
        unshare_ipc
        unshare_uts
        unshare_cgroup
        unshare_time
        unshare_everything
        unshare_then_mount
        clone_user
        clone_mount
        clone_net
        clone3_user
        clone3_everything
        setns_files
        setns_pidfd
    }
    mounts {
        mount_tmpfs
        mount_bind
        mount_proc
        remount_writable
        clear_read_only
        make_shared
        lift_cover
        open_new_filesystem
        clone_tree
        move_tree
        open_tree_attr
        switch_root
        change_root
    }
    capabilities {
        hold_effective
        hold_permitted
        hold_bounding
        gain_privileges
        raise_capability
        raise_ambient
        become_another
        become_group
        drop_groups
        run_setid_helper
        file_capability
        set_host_name
        adjust_clock
        read_kernel_log
        reboot
        swap
        accounting
        load_module
        load_module_file
        load_kernel
        load_kernel_file
        port_access
        disk_quota
        real_time
        raise_limits
    }
    seccomp {
        int80_getpid
        int80_unshare
        int80_socket
        x32_getpid
        number_high_half
        newest_numbers
        filter_with_listener
        filter_that_allows
        bpf_map
        bpf_program
        performance_event
        performance_event_host
        fault_handler
        fanotify_group
    }
    io_uring {
        ring_setup
        ring_open
        ring_connect
    }
    keyring {
        search_session_key
        request_session_key
        list_keys
        add_key
        add_user_key
    }
    fds {
        inherited_directory
        inherited_directory_dotdot
        inherited_path
        inherited_working_directory
        inherited_file
        inherited_socket
        any_inherited
        reopen_input
    }
    terminal {
        type_into_terminal
        type_high_half
        paste_into_console
        steal_console
        hold_terminal
        open_controlling_terminal
        open_terminal_by_name
    }
    signals {
        kill_host
        tgkill_host
        queue_host
        pidfd_open_host
        pidfd_signal_host
        owner_signal_host
        kill_everyone
        kill_init
        stop_init
    }
    exhaustion {
        fork_bomb
        zombie_storm
        thread_bomb
        touch_memory
        touch_memory_together
        touch_memory_file
        touch_shared_segment
        fill_temporary
        fill_shared_memory
        fill_inodes
        fill_descriptors
        dump_core
    }
    carriers {
        rewrite_hook
        add_hook
        enable_hook
        hook_by_hard_link
        hook_by_symlink
        hook_by_descriptor
        hook_by_rename
        rewrite_git_config
        replace_git_config
        replace_git
        exchange_git
        replace_hooks
        rewrite_nested_hook
        replace_parent
        create_tasks
        create_idea
        create_envrc
        create_mcp
        create_workflow
        create_shell_rc
        envrc_by_rename
        envrc_by_hard_link
        envrc_by_symlink
        envrc_nameless
        envrc_by_descriptor
        tasks_by_rename
        write_old_hard_link
    }
}

/// An attempt that is listed but not tested would be a hole in the wall's tests.
#[test]
fn every_attempt_is_tested() {
    let listed: BTreeSet<String> = crate::verdict::catalogue()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let tested: BTreeSet<String> = NAMES.iter().map(|name| name.replace('_', "-")).collect();
    assert_eq!(listed, tested);
    assert_eq!(tested.len(), NAMES.len(), "a name is there twice");
}
