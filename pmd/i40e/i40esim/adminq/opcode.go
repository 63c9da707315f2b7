package adminq

import "fmt"

// Opcode is what a command or an event is.
type Opcode uint16

// Every opcode that the drivers of the family know (datasheet, "Admin Queue commands").
const (
	OpGetVersion                  Opcode = 0x0001
	OpDriverVersion               Opcode = 0x0002
	OpQueueShutdown               Opcode = 0x0003
	OpSetPFContext                Opcode = 0x0004
	OpRequestResource             Opcode = 0x0008
	OpReleaseResource             Opcode = 0x0009
	OpListFunctionCapabilities    Opcode = 0x000A
	OpListDeviceCapabilities      Opcode = 0x000B
	OpSetProxyConfig              Opcode = 0x0104
	OpSetNSProxyTable             Opcode = 0x0105
	OpReadMAC                     Opcode = 0x0107
	OpWriteMAC                    Opcode = 0x0108
	OpClearPXE                    Opcode = 0x0110
	OpSetWoLFilter                Opcode = 0x0120
	OpGetWakeReason               Opcode = 0x0121
	OpGetSwitchConfig             Opcode = 0x0200
	OpAddStatistics               Opcode = 0x0201
	OpRemoveStatistics            Opcode = 0x0202
	OpSetPortParameters           Opcode = 0x0203
	OpGetSwitchResources          Opcode = 0x0204
	OpSetSwitchConfig             Opcode = 0x0205
	OpReadRxControl               Opcode = 0x0206
	OpWriteRxControl              Opcode = 0x0207
	OpAddVSI                      Opcode = 0x0210
	OpUpdateVSI                   Opcode = 0x0211
	OpGetVSI                      Opcode = 0x0212
	OpAddPV                       Opcode = 0x0220
	OpUpdatePV                    Opcode = 0x0221
	OpGetPV                       Opcode = 0x0222
	OpAddVEB                      Opcode = 0x0230
	OpUpdateVEB                   Opcode = 0x0231
	OpGetVEB                      Opcode = 0x0232
	OpDeleteElement               Opcode = 0x0243
	OpAddMACVLAN                  Opcode = 0x0250
	OpRemoveMACVLAN               Opcode = 0x0251
	OpAddVLAN                     Opcode = 0x0252
	OpRemoveVLAN                  Opcode = 0x0253
	OpSetPromiscuous              Opcode = 0x0254
	OpAddTag                      Opcode = 0x0255
	OpRemoveTag                   Opcode = 0x0256
	OpAddMulticastETag            Opcode = 0x0257
	OpRemoveMulticastETag         Opcode = 0x0258
	OpUpdateTag                   Opcode = 0x0259
	OpAddControlFilter            Opcode = 0x025A
	OpRemoveControlFilter         Opcode = 0x025B
	OpAddCloudFilters             Opcode = 0x025C
	OpRemoveCloudFilters          Opcode = 0x025D
	OpClearWoLFilters             Opcode = 0x025E
	OpReplaceCloudFilters         Opcode = 0x025F
	OpAddMirrorRule               Opcode = 0x0260
	OpDeleteMirrorRule            Opcode = 0x0261
	OpWriteProfile                Opcode = 0x0270
	OpListProfiles                Opcode = 0x0271
	OpIgnorePFC                   Opcode = 0x0301
	OpDCBUpdated                  Opcode = 0x0302
	OpSetDCBParameters            Opcode = 0x0303
	OpConfigureVSIBandwidth       Opcode = 0x0400
	OpConfigureVSIETSLimit        Opcode = 0x0406
	OpConfigureVSITCBandwidth     Opcode = 0x0407
	OpQueryVSIBandwidth           Opcode = 0x0408
	OpQueryVSIETS                 Opcode = 0x040A
	OpConfigureSwitchBandwidth    Opcode = 0x0410
	OpEnableSwitchETS             Opcode = 0x0413
	OpModifySwitchETS             Opcode = 0x0414
	OpDisableSwitchETS            Opcode = 0x0415
	OpConfigureSwitchETSLimit     Opcode = 0x0416
	OpConfigureSwitchTCBandwidth  Opcode = 0x0417
	OpQuerySwitchETS              Opcode = 0x0418
	OpQueryPortETS                Opcode = 0x0419
	OpQuerySwitchBandwidth        Opcode = 0x041A
	OpSuspendPortTx               Opcode = 0x041B
	OpResumePortTx                Opcode = 0x041C
	OpConfigurePartitionBandwidth Opcode = 0x041D
	OpQueryHMCProfile             Opcode = 0x0500
	OpSetHMCProfile               Opcode = 0x0501
	OpGetPHYAbilities             Opcode = 0x0600
	OpSetPHYConfig                Opcode = 0x0601
	OpSetMACConfig                Opcode = 0x0603
	OpRestartAN                   Opcode = 0x0605
	OpGetLinkStatus               Opcode = 0x0607
	OpSetEventMask                Opcode = 0x0613
	OpGetLocalAdvertisement       Opcode = 0x0614
	OpSetLocalAdvertisement       Opcode = 0x0615
	OpGetPartnerAdvertisement     Opcode = 0x0616
	OpSetLoopback                 Opcode = 0x0618
	OpGetPHYWoLCapabilities       Opcode = 0x0621
	OpSetPHYDebug                 Opcode = 0x0622
	OpUploadPHYFirmware           Opcode = 0x0625
	OpRunPHYActivity              Opcode = 0x0626
	OpSetPHYRegister              Opcode = 0x0628
	OpGetPHYRegister              Opcode = 0x0629
	OpReadNVM                     Opcode = 0x0701
	OpEraseNVM                    Opcode = 0x0702
	OpUpdateNVM                   Opcode = 0x0703
	OpReadNVMConfig               Opcode = 0x0704
	OpWriteNVMConfig              Opcode = 0x0705
	OpNVMUpdateInProcess          Opcode = 0x0706
	OpRollbackRevision            Opcode = 0x0707
	OpOEMPostUpdate               Opcode = 0x0720
	OpThermalSensor               Opcode = 0x0721
	OpSendToPF                    Opcode = 0x0801
	OpSendToVF                    Opcode = 0x0802
	OpSendToPeer                  Opcode = 0x0803
	OpWriteAlternate              Opcode = 0x0900
	OpWriteAlternateIndirect      Opcode = 0x0901
	OpReadAlternate               Opcode = 0x0902
	OpReadAlternateIndirect       Opcode = 0x0903
	OpAlternateWriteDone          Opcode = 0x0904
	OpSetAlternateMode            Opcode = 0x0905
	OpClearAlternate              Opcode = 0x0906
	OpGetLLDPMIB                  Opcode = 0x0A00
	OpConfigureMIBEvent           Opcode = 0x0A01
	OpAddLLDPTLV                  Opcode = 0x0A02
	OpUpdateLLDPTLV               Opcode = 0x0A03
	OpDeleteLLDPTLV               Opcode = 0x0A04
	OpStopLLDP                    Opcode = 0x0A05
	OpStartLLDP                   Opcode = 0x0A06
	OpGetCEEConfig                Opcode = 0x0A07
	OpSetLocalMIB                 Opcode = 0x0A08
	OpStopStartAgent              Opcode = 0x0A09
	OpRestoreLLDP                 Opcode = 0x0A0A
	OpAddUDPTunnel                Opcode = 0x0B00
	OpDeleteUDPTunnel             Opcode = 0x0B01
	OpSetRSSKey                   Opcode = 0x0B02
	OpSetRSSLUT                   Opcode = 0x0B03
	OpGetRSSKey                   Opcode = 0x0B04
	OpGetRSSLUT                   Opcode = 0x0B05
	OpLANOverflow                 Opcode = 0x1001
	OpOEMParameterChange          Opcode = 0xFE00
	OpOEMStateChange              Opcode = 0xFE01
	OpOEMInitOCSD                 Opcode = 0xFE02
	OpOEMInitOCBB                 Opcode = 0xFE03
	OpReadDebugRegister           Opcode = 0xFF03
	OpWriteDebugRegister          Opcode = 0xFF04
	OpModifyDebugRegister         Opcode = 0xFF07
	OpDumpInternals               Opcode = 0xFF08
)

// opcodeNames are the names that traces and reports use: those of the drivers' headers, which people know.
var opcodeNames = map[Opcode]string{
	OpGetVersion:                  "get_version",
	OpDriverVersion:               "driver_version",
	OpQueueShutdown:               "queue_shutdown",
	OpSetPFContext:                "set_pf_context",
	OpRequestResource:             "request_resource",
	OpReleaseResource:             "release_resource",
	OpListFunctionCapabilities:    "list_func_capabilities",
	OpListDeviceCapabilities:      "list_dev_capabilities",
	OpSetProxyConfig:              "set_proxy_config",
	OpSetNSProxyTable:             "set_ns_proxy_table_entry",
	OpReadMAC:                     "mac_address_read",
	OpWriteMAC:                    "mac_address_write",
	OpClearPXE:                    "clear_pxe_mode",
	OpSetWoLFilter:                "set_wol_filter",
	OpGetWakeReason:               "get_wake_reason",
	OpGetSwitchConfig:             "get_switch_config",
	OpAddStatistics:               "add_statistics",
	OpRemoveStatistics:            "remove_statistics",
	OpSetPortParameters:           "set_port_parameters",
	OpGetSwitchResources:          "get_switch_resource_alloc",
	OpSetSwitchConfig:             "set_switch_config",
	OpReadRxControl:               "rx_ctl_reg_read",
	OpWriteRxControl:              "rx_ctl_reg_write",
	OpAddVSI:                      "add_vsi",
	OpUpdateVSI:                   "update_vsi_parameters",
	OpGetVSI:                      "get_vsi_parameters",
	OpAddPV:                       "add_pv",
	OpUpdatePV:                    "update_pv_parameters",
	OpGetPV:                       "get_pv_parameters",
	OpAddVEB:                      "add_veb",
	OpUpdateVEB:                   "update_veb_parameters",
	OpGetVEB:                      "get_veb_parameters",
	OpDeleteElement:               "delete_element",
	OpAddMACVLAN:                  "add_macvlan",
	OpRemoveMACVLAN:               "remove_macvlan",
	OpAddVLAN:                     "add_vlan",
	OpRemoveVLAN:                  "remove_vlan",
	OpSetPromiscuous:              "set_vsi_promiscuous_modes",
	OpAddTag:                      "add_tag",
	OpRemoveTag:                   "remove_tag",
	OpAddMulticastETag:            "add_multicast_etag",
	OpRemoveMulticastETag:         "remove_multicast_etag",
	OpUpdateTag:                   "update_tag",
	OpAddControlFilter:            "add_control_packet_filter",
	OpRemoveControlFilter:         "remove_control_packet_filter",
	OpAddCloudFilters:             "add_cloud_filters",
	OpRemoveCloudFilters:          "remove_cloud_filters",
	OpClearWoLFilters:             "clear_all_wol_filters",
	OpReplaceCloudFilters:         "replace_cloud_filters",
	OpAddMirrorRule:               "add_mirror_rule",
	OpDeleteMirrorRule:            "delete_mirror_rule",
	OpWriteProfile:                "write_personalization_profile",
	OpListProfiles:                "get_personalization_profile_list",
	OpIgnorePFC:                   "dcb_ignore_pfc",
	OpDCBUpdated:                  "dcb_updated",
	OpSetDCBParameters:            "set_dcb_parameters",
	OpConfigureVSIBandwidth:       "configure_vsi_bw_limit",
	OpConfigureVSIETSLimit:        "configure_vsi_ets_sla_bw_limit",
	OpConfigureVSITCBandwidth:     "configure_vsi_tc_bw",
	OpQueryVSIBandwidth:           "query_vsi_bw_config",
	OpQueryVSIETS:                 "query_vsi_ets_sla_config",
	OpConfigureSwitchBandwidth:    "configure_switching_comp_bw_limit",
	OpEnableSwitchETS:             "enable_switching_comp_ets",
	OpModifySwitchETS:             "modify_switching_comp_ets",
	OpDisableSwitchETS:            "disable_switching_comp_ets",
	OpConfigureSwitchETSLimit:     "configure_switching_comp_ets_bw_limit",
	OpConfigureSwitchTCBandwidth:  "configure_switching_comp_bw_config",
	OpQuerySwitchETS:              "query_switching_comp_ets_config",
	OpQueryPortETS:                "query_port_ets_config",
	OpQuerySwitchBandwidth:        "query_switching_comp_bw_config",
	OpSuspendPortTx:               "suspend_port_tx",
	OpResumePortTx:                "resume_port_tx",
	OpConfigurePartitionBandwidth: "configure_partition_bw",
	OpQueryHMCProfile:             "query_hmc_resource_profile",
	OpSetHMCProfile:               "set_hmc_resource_profile",
	OpGetPHYAbilities:             "get_phy_abilities",
	OpSetPHYConfig:                "set_phy_config",
	OpSetMACConfig:                "set_mac_config",
	OpRestartAN:                   "set_link_restart_an",
	OpGetLinkStatus:               "get_link_status",
	OpSetEventMask:                "set_phy_int_mask",
	OpGetLocalAdvertisement:       "get_local_advt_reg",
	OpSetLocalAdvertisement:       "set_local_advt_reg",
	OpGetPartnerAdvertisement:     "get_partner_advt",
	OpSetLoopback:                 "set_lb_modes",
	OpGetPHYWoLCapabilities:       "get_phy_wol_caps",
	OpSetPHYDebug:                 "set_phy_debug",
	OpUploadPHYFirmware:           "upload_ext_phy_fm",
	OpRunPHYActivity:              "run_phy_activity",
	OpSetPHYRegister:              "set_phy_register",
	OpGetPHYRegister:              "get_phy_register",
	OpReadNVM:                     "nvm_read",
	OpEraseNVM:                    "nvm_erase",
	OpUpdateNVM:                   "nvm_update",
	OpReadNVMConfig:               "nvm_config_read",
	OpWriteNVMConfig:              "nvm_config_write",
	OpNVMUpdateInProcess:          "nvm_update_in_process",
	OpRollbackRevision:            "rollback_revision_update",
	OpOEMPostUpdate:               "oem_post_update",
	OpThermalSensor:               "thermal_sensor",
	OpSendToPF:                    "send_msg_to_pf",
	OpSendToVF:                    "send_msg_to_vf",
	OpSendToPeer:                  "send_msg_to_peer",
	OpWriteAlternate:              "alternate_write",
	OpWriteAlternateIndirect:      "alternate_write_indirect",
	OpReadAlternate:               "alternate_read",
	OpReadAlternateIndirect:       "alternate_read_indirect",
	OpAlternateWriteDone:          "alternate_write_done",
	OpSetAlternateMode:            "alternate_set_mode",
	OpClearAlternate:              "alternate_clear_port",
	OpGetLLDPMIB:                  "lldp_get_mib",
	OpConfigureMIBEvent:           "lldp_update_mib",
	OpAddLLDPTLV:                  "lldp_add_tlv",
	OpUpdateLLDPTLV:               "lldp_update_tlv",
	OpDeleteLLDPTLV:               "lldp_delete_tlv",
	OpStopLLDP:                    "lldp_stop",
	OpStartLLDP:                   "lldp_start",
	OpGetCEEConfig:                "get_cee_dcb_cfg",
	OpSetLocalMIB:                 "lldp_set_local_mib",
	OpStopStartAgent:              "lldp_stop_start_spec_agent",
	OpRestoreLLDP:                 "lldp_restore",
	OpAddUDPTunnel:                "add_udp_tunnel",
	OpDeleteUDPTunnel:             "del_udp_tunnel",
	OpSetRSSKey:                   "set_rss_key",
	OpSetRSSLUT:                   "set_rss_lut",
	OpGetRSSKey:                   "get_rss_key",
	OpGetRSSLUT:                   "get_rss_lut",
	OpLANOverflow:                 "event_lan_overflow",
	OpOEMParameterChange:          "oem_parameter_change",
	OpOEMStateChange:              "oem_device_status_change",
	OpOEMInitOCSD:                 "oem_ocsd_initialize",
	OpOEMInitOCBB:                 "oem_ocbb_initialize",
	OpReadDebugRegister:           "debug_read_reg",
	OpWriteDebugRegister:          "debug_write_reg",
	OpModifyDebugRegister:         "debug_modify_reg",
	OpDumpInternals:               "debug_dump_internals",
}

// String is the opcode's name and number.
func (o Opcode) String() string {
	if name, known := opcodeNames[o]; known {
		return fmt.Sprintf("%s (%04x)", name, uint16(o))
	}
	return fmt.Sprintf("unknown (%04x)", uint16(o))
}
